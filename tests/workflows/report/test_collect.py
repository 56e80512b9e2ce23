"""What the report gathers beyond the model in use."""

from workflows.report.collect import collect


def test_lineage_holds_refused_models_whatever_model_is_in_use(grown, material):
    assert [record.generation for record in material.lineage] == [0, 1, 2, 3]
    older = collect(grown.options, grown.store, grown.store.jobs.query_one({"uuid": "promote-1"})["output"])
    assert [record.generation for record in older.lineage] == [0, 1, 2, 3]
    assert len(older.selections) == len(material.selections) == 3
    assert older.decisions == material.decisions
