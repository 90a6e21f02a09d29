"""Ownership: the table against a dumb one, and golden placements that no release may change."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_64_digest

from roo.core.table import RING, Table, hash64

GOLDEN = {
    "": 0x2D06800538D394C2,
    "the": 0xCB1283631CF33D7D,
    "apple": 0x517A430DCF1F8A00,
    "aardvark": 0x5E4BE13D7934E6DF,
    "AAPL": 0xDFB0AA5C25CCE8C5,
    "żółć": 0xE3330A6B468C02E9,
    "customer-42": 0xF40925AC7F7B5E61,
}
OWNERS_OF_THREE = {"": 0, "the": 2, "apple": 0, "aardvark": 1, "AAPL": 2, "żółć": 2}

tables = st.builds(
    lambda bounds, owners: Table(
        (0, *sorted(bounds)), tuple(owners[i % len(owners)] for i in range(len(bounds) + 1))
    ),
    st.sets(st.integers(1, RING - 1), max_size=20),
    st.lists(st.integers(0, 7), min_size=1, max_size=5),
)
places = st.one_of(st.integers(0, RING - 1), st.sampled_from([0, RING - 1, RING // 2]))


def dumb_owner(table: Table, place: int) -> int:
    for start, end, owner in table.intervals():
        if start <= place < end:
            return owner
    raise AssertionError(f"nobody owns {place}")


@given(tables, places)
def test_owner_is_the_interval_that_holds_the_place(table: Table, place: int) -> None:
    assert table.owner(place) == dumb_owner(table, place)


@given(tables, st.data())
def test_owner_at_the_bounds(table: Table, data: st.DataObject) -> None:
    bound = data.draw(st.sampled_from(table.bounds))
    for place in {bound, max(bound - 1, 0)}:
        assert table.owner(place) == dumb_owner(table, place)


@given(tables, st.text() | st.binary())
def test_the_directory_agrees_with_the_owner_or_leaves_it_open(
    table: Table, key: str | bytes
) -> None:
    data = key if isinstance(key, bytes) else key.encode("utf-8", "surrogatepass")
    settled = table.directory()[xxh3_64_digest(data)[0]]
    assert settled is None or settled == table.owner_of(key)


@given(tables)
def test_the_directory_leaves_open_only_what_a_bound_cuts(table: Table) -> None:
    step = RING >> 8
    for byte, settled in enumerate(table.directory()):
        cut = any(byte * step < bound < (byte + 1) * step for bound in table.bounds)
        assert (settled is None) == cut


@pytest.mark.parametrize("workers", [1, 2, 3, 5, 7, 64, 256])
def test_a_fresh_table_has_equal_sub_intervals_in_worker_order(workers: int) -> None:
    table = Table.equal(workers)
    sizes = [end - start for start, end, _ in table.intervals()]
    assert sum(sizes) == RING
    assert max(sizes) - min(sizes) <= 1
    assert table.owners == tuple(range(workers))
    assert sum(table.share(w) for w in range(workers)) == pytest.approx(1)


def test_a_table_needs_a_worker() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Table.equal(0)


@given(st.text())
def test_text_hashes_as_its_utf8(key: str) -> None:
    try:
        data = key.encode()
    except UnicodeEncodeError:
        return
    assert hash64(key) == hash64(data)


def test_a_lone_surrogate_has_a_place() -> None:
    assert 0 <= hash64("\ud800") < RING


def test_golden_placement() -> None:
    """Frozen: a key that hashed elsewhere in a new release would lose its state."""
    assert {key: hash64(key) for key in GOLDEN} == GOLDEN
    three = Table.equal(3)
    assert three.bounds == (0, 0x5555555555555555, 0xAAAAAAAAAAAAAAAA)
    assert {key: three.owner_of(key) for key in OWNERS_OF_THREE} == OWNERS_OF_THREE
