"""Flows: Makers that receive an engine and never name one."""

from workflows.flows.active_learning import CampaignMaker
from workflows.flows.label import LabelFlowMaker

__all__ = ["CampaignMaker", "LabelFlowMaker"]
