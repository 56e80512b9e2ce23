"""Errors against the number of labels, and targets."""

import numpy as np

from workflows.report.curves import curve_figures, curves, target_rows


def test_curves_are_the_scores_of_the_records_against_the_labels_of_their_snapshots(material):
    found = curves(material, "energy")
    assert set(found) == {"random", "orderings", "pairs", "honest"}
    trained_on = sum(split == "train" for split in material.split_of.values())
    assert found["random"].labels[-1] == trained_on < len(material.split_of)
    assert (np.diff(found["random"].labels) > 0).all()
    scores = [record.scores["tests"]["random"]["energy"]["mae"] for record in material.lineage]
    assert found["random"].errors == scores
    # Told of before training: at the number of labels that there were before the batch.
    assert found["honest"].labels == found["random"].labels[:-1]
    assert "pairs" not in curves(material, "forces")


def test_curve_pictures_tell_targets_and_ends(material):
    energy, forces, moments = curve_figures(material)
    assert "target of random 2" in energy.alt
    assert "target of energy differences of pairs 0.1" in energy.alt
    assert "target of random 30" in forces.alt
    assert "target" not in moments.alt


def test_targets_are_about_the_model_in_use(material):
    rows = {(row["test"], row["task"]): row for row in target_rows(material)}
    used = material.lineage[-1].scores["tests"]
    assert rows["random", "energy"]["now"] == used["random"]["energy"]["mae"]
    assert rows["random", "energy"]["met"]
    assert not rows["energy differences of pairs", "energy"]["met"]
