"""Which replica holds the longest beginning of a prompt, as the router of a cluster remembers it."""

from app.engine.cluster.prefixes import BLOCK, PrefixIndex

BOTH = frozenset({"a", "b"})


def prompt(blocks: int, first: int = 0) -> list[int]:
    return [first, *range(1, blocks * BLOCK)]


def test_a_follow_up_finds_the_replica_of_the_turn_before() -> None:
    index = PrefixIndex()
    index.add("alice", prompt(3), "a")
    assert index.find("alice", [*prompt(3), 7, 8, 9], BOTH) == "a"
    assert index.find("alice", prompt(2), BOTH) == "a"
    assert index.find("alice", prompt(3, first=1), BOTH) is None


def test_the_longest_prefix_counts() -> None:
    index = PrefixIndex()
    index.add("alice", prompt(4), "a")
    index.add("alice", prompt(2), "b")  # which has computed only the beginning, but later
    assert index.find("alice", prompt(4), BOTH) == "a"
    assert index.find("alice", prompt(2), BOTH) == "b"


def test_a_replica_that_is_gone_is_not_found() -> None:
    index = PrefixIndex()
    index.add("alice", prompt(4), "gone")
    index.add("alice", prompt(2), "b")
    assert index.find("alice", prompt(4), BOTH) == "b"


def test_nobody_finds_what_another_has_and_without_an_owner_there_is_nothing() -> None:
    index = PrefixIndex()
    index.add("alice", prompt(2), "a")
    index.add("", prompt(2), "b")
    assert index.find("bob", prompt(2), BOTH) is None
    assert index.find("", prompt(2), BOTH) is None


def test_less_than_a_block_is_not_worth_remembering() -> None:
    index = PrefixIndex()
    index.add("alice", prompt(1)[:-1], "a")
    assert index.find("alice", prompt(1), BOTH) is None


def test_the_oldest_are_forgotten() -> None:
    index = PrefixIndex(capacity=3)
    index.add("alice", prompt(2, first=1), "a")
    index.add("alice", prompt(2, first=2), "b")
    assert index.find("alice", prompt(2, first=1), BOTH) is None
    assert index.find("alice", prompt(2, first=2), BOTH) == "b"
