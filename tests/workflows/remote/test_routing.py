from pathlib import Path

import pytest
import yaml

from workflows.engines import get_engine
from workflows.remote.routing import CostOptions, RemoteOptions, RemoteSetupError, Route, load_remote, route, sized

FILES = sorted((Path(__file__).parents[3] / "configs" / "remote").glob("*.yaml"))
MAP = {
    "workers": {"label": "cpu", "train": "gpu", "light": "local"},
    "resources": {
        "label": [
            {"sites": 32, "nodes": 2, "processes_per_node": 8, "time": "04:00:00", "memory": 1000, "queue": "cpu"},
            {"sites": 8, "processes_per_node": 4, "time": "01:00:00", "engine": {"ncore": 2, "kpar": 2}},
        ],
        "train": [{"gpus": 1, "time": "1-00:00:00", "scheduler": {"constraint": "a100"}}],
    },
    "pilot": {"worker": "pilot", "sites": 4, "engine": {"processes": 1}},
    "exec_config": {"cpu": "vasp"},
    "longest": "1-12:00:00",
    "most_memory": 3000,
}
HASHES = {"potcars": {"Ni": "Ni_pv", "O": "O"}, "potcar_hashes": {"Ni": "0" * 64, "O": "1" * 64}}
OPTIONS = RemoteOptions.model_validate(MAP)


def header(chosen: Route) -> str:
    """The lines that qtoolkit writes for Slurm."""
    from monty.json import MontyDecoder
    from qtoolkit.io.slurm import SlurmIO

    return SlurmIO().generate_header(MontyDecoder().process_decoded(chosen.resources))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_are_read_and_understood_by_the_scheduler(path):
    options = load_remote(path)
    for kind in ("label", "parent", "train", "light"):
        for sites in (2, 4, 16, 64, 200):
            chosen = route(options, kind, sites)
            assert chosen.worker in options.names()
            if chosen.resources:
                assert "#SBATCH --time=" in header(chosen)


def test_there_is_a_map_for_each_kind_of_project():
    assert [path.stem for path in FILES] == ["slurm", "ssh", "two_clusters", "workstation"]


def test_rows_follow_the_size():
    small, large = route(OPTIONS, "label", 8), route(OPTIONS, "label", 9)
    assert (small.worker, small.exec_config) == ("cpu", "vasp")
    assert small.engine == {"processes": 4, "threads": 1, "ncore": 2, "kpar": 2}
    assert large.engine == {"processes": 16, "threads": 1}
    lines = header(large).splitlines()
    assert {"#SBATCH --nodes=2", "#SBATCH --ntasks-per-node=8", "#SBATCH --partition=cpu"} <= set(lines)
    assert "#SBATCH --mem-per-cpu=1000" in lines


def test_time_grows_above_the_largest_row_up_to_the_longest():
    assert route(OPTIONS, "label", 32).resources["time_limit"] == 4 * 3600
    assert route(OPTIONS, "label", 64).resources["time_limit"] == round(4 * 3600 * 2**2.5)
    assert route(OPTIONS, "label", 320).resources["time_limit"] == 36 * 3600


def test_a_further_attempt_has_more_time_and_memory():
    tries = [route(OPTIONS, "label", 32, attempt).resources for attempt in range(5)]
    assert [each["time_limit"] // 3600 for each in tries] == [4, 8, 16, 32, 36]
    assert [each["memory_per_thread"] for each in tries] == [1000, 2000, 3000, 3000, 3000]


def test_small_single_points_go_to_the_pilot_once():
    assert route(OPTIONS, "label", 4) == Route("pilot", {}, None, {"processes": 1})
    assert route(OPTIONS, "label", 4, attempt=1).worker == "cpu"
    assert route(OPTIONS, "label", 5).worker == "cpu"
    assert route(OPTIONS, "parent", 4).worker == "cpu"
    assert route(OPTIONS, "label").worker == "cpu"  # of unknown size


def test_training_asks_for_a_gpu_and_light_jobs_for_nothing():
    assert "#SBATCH --gres=gpu:1" in header(route(OPTIONS, "train"))
    assert "#SBATCH --constraint=a100" in header(route(OPTIONS, "train"))
    assert route(OPTIONS, "light") == Route("local")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"workers": {"label": "cpu"}}, "workers: name a worker for train, light as well"),
        ({"worker": {}}, "did you mean 'workers'?"),
        ({"resources": {"label": [{"time": "two hours"}]}}, "'two hours' is no time; write HH:MM:SS"),
        ({"resources": {"label": [{"time": "02:30"}]}}, "'02:30' is no time; write HH:MM:SS"),
        ({"resources": {"label": [{"time": "9-00:00:00"}]}}, "resources.label: a time limit is above 'longest'"),
        ({"resources": {"label": [{"time": 60}, {"time": 90}]}}, "two rows are for the same number of sites"),
        ({"resources": {"label": [{"time": 60, "engine": {"kpar": 3}}]}}, "1 processes cannot be shared out"),
    ],
)
def test_mistakes_are_named(change, message, tmp_path):
    path = tmp_path / "map.yaml"
    path.write_text(yaml.safe_dump({**MAP, **change}))
    with pytest.raises(RemoteSetupError) as caught:
        load_remote(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


def test_unquoted_times_of_yaml_are_seconds(tmp_path):
    path = tmp_path / "map.yaml"
    path.write_text("workers: {label: a, train: a, light: a}\nresources: {label: [{time: 2:00:00}]}\nlongest: 48:00:00")
    assert load_remote(path).longest == 48 * 3600
    assert load_remote(path).resources["label"][0].time == 2 * 3600


def test_vasp_gets_its_cores_and_keeps_its_level():
    engine = get_engine(
        {"type": "vasp", "incar": {"NPAR": 4, "kpar": 8, "EDIFF": 1e-7}, "run": {"buffer": 60}, **HASHES}
    )
    new = sized(engine, route(OPTIONS, "label", 8))
    assert (new.processes, new.run.threads, new.run.buffer) == (4, 1, 60)
    assert new.incar == {"EDIFF": 1e-7, "NCORE": 2, "KPAR": 2}
    assert new.level_id() == engine.level_id()
    assert type(engine).model_validate(new.model_dump()) == new
    assert sized(engine, route(OPTIONS, "label", 30)).incar == engine.incar


def test_other_engines_stay_as_they_are():
    engine = get_engine("spin-lattice")
    assert sized(engine, route(OPTIONS, "label", 8)) is engine


def test_workers_named_anywhere_have_to_be_in_the_project():
    options = RemoteOptions.model_validate({**MAP, "shared": {"gpus": True}, "scratch": {"fast": "/scratch"}})
    assert options.mentioned() == {"cpu", "gpu", "local", "pilot", "gpus", "fast"}


def test_processes_are_shared_out_evenly():
    with pytest.raises(ValueError, match="6 processes cannot be shared out to kpar x ncore = 4 groups"):
        CostOptions(processes=6, ncore=2, kpar=2)
