"""What the report gathers beyond the model in use."""

from workflows.report.collect import collect


def test_lineage_holds_refused_models_whatever_model_is_in_use(grown, material):
    assert [record.generation for record in material.lineage] == [0, 1, 2, 3]
    older = collect(grown.options, grown.store, grown.store.jobs.query_one({"uuid": "promote-1"})["output"])
    assert [record.generation for record in older.lineage] == [0, 1, 2, 3]
    assert len(older.selections) == len(material.selections) == 3
    assert older.decisions == material.decisions


def test_jobs_of_retrainings_and_of_other_campaigns_are_no_decisions(grown, material):
    other = {"generation": 1, "why": "of another campaign", "history": [{"model_id": "other"}]}
    outputs = {"due": {"due": ["2 new labels"]}, "other": other}
    for uuid, output in outputs.items():
        document = {"uuid": uuid, "index": 1, "metadata": {"kind": "decide"}, "output": output}
        grown.store.jobs.update(document, key=["uuid", "index"])
    try:
        assert collect(grown.options, grown.store, grown.evaluated).decisions == material.decisions
        assert collect(grown.options, grown.store, None).decisions == {}
    finally:
        grown.store.jobs.remove_docs({"uuid": {"$in": list(outputs)}})


def test_a_model_that_is_its_own_parent_ends_the_ancestry(grown, material):
    """Stores of before hold such a record where a round gave no label."""
    newest = material.lineage[-1]
    grown.store.put_model(newest.model_copy(update={"parents": [newest.model_id]}))
    try:
        found = collect(grown.options, grown.store, grown.evaluated)
        assert [record.model_id for record in found.records] == [newest.model_id]
        assert found.lineage == found.records
    finally:
        grown.store.put_model(newest)
