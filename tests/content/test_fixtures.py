"""The application that the tests of this directory share is there on each database."""

from __future__ import annotations

from gnj.queue.model import Job, NewJob


def test_an_application_has_its_content_store_and_its_own_files(jobs, org, tmp_path):
    assert jobs.content.files.root == tmp_path / "files"
    assert type(jobs.content.store).__name__ == "SqlContentStore"
    assert jobs.count() == 0


def test_the_next_test_finds_nothing_of_the_one_before(jobs, org):
    assert jobs.queue.list(Job) == []
    job = jobs.queue.enqueue(NewJob("left"))
    assert job.id == 1


test_nor_does_the_one_after_it = test_the_next_test_finds_nothing_of_the_one_before
