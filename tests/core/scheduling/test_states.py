import pytest

from map_reduce.core.messages import Progress
from map_reduce.core.scheduling.states import (
    FINAL_TASK_TRANSITIONS,
    JOB_TRANSITIONS,
    MAP_TASK_TRANSITIONS,
    JobPhase,
    JobStep,
    TaskState,
    TaskStep,
    after,
)


def test_a_step_leads_where_the_table_says():
    assert after(JOB_TRANSITIONS, JobPhase.MAP, JobStep.ALL_MAPPED) is JobPhase.REDUCE


def test_an_illegal_step_names_state_and_step():
    with pytest.raises(AssertionError, match=r"output_lost .* committed"):
        after(FINAL_TASK_TRANSITIONS, TaskState.COMMITTED, TaskStep.OUTPUT_LOST)


def test_only_map_tasks_can_lose_what_was_committed():
    lost = after(MAP_TASK_TRANSITIONS, TaskState.COMMITTED, TaskStep.OUTPUT_LOST)
    assert lost is TaskState.PENDING
    assert not FINAL_TASK_TRANSITIONS[TaskState.COMMITTED]


def test_no_way_leads_out_of_an_end_and_some_end_can_be_reached_from_everywhere():
    ended = {phase for phase in JobPhase if phase.ended}
    assert ended == {JobPhase.DONE, JobPhase.FAILED, JobPhase.CANCELLED}
    for phase in set(JobPhase) - ended:
        assert ended <= set(JOB_TRANSITIONS[phase].values())


def test_a_job_never_goes_back():
    order = list(JobPhase)
    for phase, steps in JOB_TRANSITIONS.items():
        assert all(order.index(phase) < order.index(next_) for next_ in steps.values())


def test_tables_are_whole():
    assert set(JOB_TRANSITIONS) == set(JobPhase)
    assert set(MAP_TASK_TRANSITIONS) == set(FINAL_TASK_TRANSITIONS) == set(TaskState)


def test_a_progress_begins_in_the_first_phase():
    assert Progress().phase == JobPhase.WAITING.value
