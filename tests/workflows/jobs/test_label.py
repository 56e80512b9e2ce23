"""The output of a label job carries its checksum through jobflow and the store, so that later damage shows."""

import pytest
from jobflow import JobStore, run_locally

from datastore import open_store
from datastore.ingest import ingest
from datastore.schema import SpinFailure
from datastore.upgrade import parse
from datastore.verify import verify
from workflows.engines.spin_lattice import SpinLatticeEngine
from workflows.jobs.label import crash_document, label_job
from workflows.structures import StructureOptions, generate


@pytest.fixture
def config():
    options = {
        "parents": [{"species": {"Ni": 1.0}, "cell": "rhombohedral4"}],
        "orderings": ["AFM-II"],
        "deformations": [{"kind": "volume", "count": 1, "amplitude": [0.98, 1.02]}],
    }
    return next(iter(generate(StructureOptions.model_validate(options))))


def test_its_output_is_as_it_was_written(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open_store(f"local:{tmp_path / 'store'}") as store:
        run_locally(label_job(SpinLatticeEngine(), config), store=JobStore(store.jobs), log=False)
        assert ingest(store).labels == 1
        assert verify(store).problems == []
        (job,) = store.jobs.query({})
        job["output"]["energy"] += 1e-6
        store.jobs.update(job)
        (problem,) = verify(store).problems
    assert (problem.collection, problem.point_ids) == ("jobs", [job["output"]["point_id"]])
    assert "checksum differs" in problem.what


def test_so_does_that_of_a_lost_process(config):
    document = crash_document(label_job(SpinLatticeEngine(), config), "killed", 1.0)
    assert document["output"]["checksum"]


def test_a_crash_is_paid_by_the_campaign_that_ran(config):
    asked = config.model_copy(update={"campaign": "first"})
    for campaign, payer in (("second", "second"), ("first", ""), ("", "")):
        document = crash_document(label_job(SpinLatticeEngine(), asked, campaign), "killed", 1.0)["output"]
        assert (document["campaign"], document["calculated_by"]) == ("first", payer)
        assert parse(SpinFailure, document).calculated_by == payer
