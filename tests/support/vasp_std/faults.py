"""Ways in which the program can fail, as VASP does, chosen from outside."""

from tests.support.vasp_std.physics import State
from tests.support.vasp_std.steps import Electronic


class Faults:
    def spoil(self, state: State) -> State:
        return state

    def before_electronic(self, step: Electronic) -> None:
        pass
