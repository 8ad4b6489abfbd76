"""A run that needs more memory than there is names what it needs, what is there, and what would fit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from xct_components.data.readable_bytes import readable_bytes
from xct_components.failures import ExitCode, OutOfResources
from xct_components.inferers.memory_needed import BYTES_PER_VOXEL, PROCESS_BYTES, needed_bytes
from xct_components.inferers.planned_run import PlannedRun, require_memory

CPU = torch.device("cpu")
STAGES = ((64, 64, 64), (128, 128, 128), (256, 256, 256))
FULL = (512, 604, 512)
RUN = PlannedRun(STAGES)
#: By hand from the table: a mean in one piece, and in columns.
SECOND, THIRD = PROCESS_BYTES + 128**3 * 64, PROCESS_BYTES + 256**3 * 64
LARGEST = PROCESS_BYTES + 512 * 604 * 512 * 23


def refused(run: PlannedRun, free: int, fewer_stages: str = "with stages {}") -> str:
    """What is said of a run where so many bytes are left."""
    with pytest.raises(OutOfResources) as failure:
        require_memory(run, CPU, fewer_stages, available=lambda _: free)
    assert failure.value.exit_code == ExitCode.OUT_OF_RESOURCES
    return str(failure.value)


def way_out(run: PlannedRun, free: int) -> str:
    return refused(run, free).rpartition("; ")[2]


def test_what_it_needs_and_what_is_there_are_named():
    gib = f"{THIRD / 2**30:.1f} GiB"
    assert refused(RUN, SECOND) == (
        f"256 x 256 x 256 voxels need about {gib} of memory, 0.8 GiB are available; it fits with stages 2 (0.8 GiB)"
    )


def test_a_run_that_fits_is_not_refused_nor_one_where_nobody_knows():
    require_memory(RUN, CPU, available=lambda _: THIRD)
    require_memory(RUN, CPU, available=lambda _: None)
    require_memory(PlannedRun(STAGES[:1]), CPU)  # asks this machine


def test_the_largest_stage_that_fits_is_offered_in_the_words_of_the_user():
    assert way_out(RUN, SECOND) == "it fits with stages 2 (0.8 GiB)"
    assert way_out(RUN, SECOND - 1) == "it fits with stages 1 (0.7 GiB)"
    assert refused(RUN, SECOND, "with the bundle of stage {}").endswith("it fits with the bundle of stage 2 (0.8 GiB)")


def test_at_full_size_leaving_it_out_is_offered_not_the_stage_that_is_run_anyway():
    run = replace(RUN, full_shape=FULL)
    assert refused(run, LARGEST - 1).startswith("512 x 604 x 512 voxels need about 4.1 GiB of memory")
    assert way_out(run, LARGEST - 1) == "it fits without full_size (1.7 GiB)"
    assert way_out(run, SECOND) == "it fits without full_size and with stages 2 (0.8 GiB)"


def test_where_nothing_smaller_fits_nothing_is_offered():
    assert way_out(PlannedRun(STAGES[:1]), 1) == "nothing smaller fits: use a larger machine"
    assert way_out(replace(RUN, full_shape=FULL, mode="sample", samples=4, members=9), 1).startswith("nothing smaller")


def test_of_members_as_many_as_fit_are_offered():
    run = replace(RUN, members=9)
    three = needed_bytes(STAGES[-1], "mean", 1, 3)
    assert way_out(run, three).startswith("it fits with members 3 (")
    assert way_out(run, THIRD).startswith("it fits without members (1.7 GiB) or with stages 2 (")


def test_a_mean_is_offered_in_place_of_samples_and_of_a_member():
    assert way_out(replace(RUN, samples=4), THIRD).startswith("it fits with samples 1 (1.7 GiB)")
    single = PROCESS_BYTES + 256**3 * BYTES_PER_VOXEL["sample", "whole"]
    assert way_out(replace(RUN, mode="sample", samples=4), single).startswith("it fits with samples 1 (")
    assert way_out(replace(RUN, mode="sample", samples=4), THIRD).startswith("it fits with samples 1 and in mode mean (")
    assert way_out(replace(RUN, mode="member"), THIRD).startswith("it fits in mode mean (1.7 GiB)")


def test_where_no_single_setting_helps_several_are_offered_and_the_size_is_kept_if_it_can_be():
    run = PlannedRun((STAGES[-1],), samples=4, members=9)
    assert way_out(run, THIRD) == "it fits with samples 1 and without members (1.7 GiB)"


def test_everything_that_is_offered_fits():
    run = replace(RUN, full_shape=FULL, mode="sample", samples=3, members=5)
    free = 2 << 30
    for part in way_out(run, free).split(" or "):
        assert float(part.rpartition("(")[2].split()[0]) <= free / 2**30


def test_a_column_takes_the_memory_of_columns_unless_it_is_the_whole_volume():
    in_columns, whole = (needed_bytes(STAGES[-1], "mean", 1, 0, column) for column in (128, 256))
    assert (in_columns, whole) == (PROCESS_BYTES + 256**3 * 23, THIRD)
    assert needed_bytes(FULL, "mean", 1, 0, 352) == needed_bytes(FULL, "mean", 1) == LARGEST


def test_bytes_are_read_as_gib_and_small_counts_as_mib():
    assert [readable_bytes(count) for count in (5 << 30, 1 << 29, 50 << 20, 0)] == ["5.0 GiB", "0.5 GiB", "50.0 MiB", "0.0 MiB"]
