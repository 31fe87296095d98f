"""The corpus: repeatable, consistent, true where it can be checked, and apart from what the evaluation asks."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from itertools import pairwise

import pytest

from app.starter import facts, memory, phrasing
from app.starter.corpus import dialogue, dialogues, held_out_exchanges, memory_turns
from app.starter.evaluate import is_right
from app.starter.topics import LANGUAGES, expand, expand_all, load_topics, parse


def test_same_seed_and_index_give_the_same_dialogue() -> None:
    assert list(dialogues(3, 100, 50)) == list(dialogues(3, 100, 50))
    assert dialogue(3, 120) == list(dialogues(3, 100, 50))[20]
    assert dialogue(3, 120) != dialogue(4, 120)


def test_every_turn_says_something() -> None:
    for item in dialogues(1, 0, 500):
        assert item.turns
        for turn in item.turns:
            assert turn.user.strip()
            assert turn.assistant.strip()
            assert "{" not in turn.user.replace('{"', ""), f"a slot was left open: {turn.user}"


def test_no_question_belongs_to_two_topics() -> None:
    for language in LANGUAGES:
        owners: dict[str, set[str]] = defaultdict(set)
        for topic in load_topics():
            side = topic.sides[language]
            for pattern in side.questions:
                for question in expand_all(pattern):
                    owners[question.lower()].add(topic.key)
            for term in side.terms:
                owners[f"term: {term.lower()}"].add(topic.key)
        assert {q: keys for q, keys in owners.items() if len(keys) > 1} == {}


def test_held_out_questions_are_not_trained() -> None:
    for topic in load_topics():
        for language in LANGUAGES:
            side = topic.sides[language]
            trained = {q.lower() for pattern in side.questions for q in expand_all(pattern)}
            assert trained.isdisjoint(q.lower() for pattern in side.held_out for q in expand_all(pattern))
    for language in LANGUAGES:
        assert set(phrasing.DEFINE[language]).isdisjoint(phrasing.HELD_OUT_DEFINE[language])
        assert set(phrasing.WRAP[language]).isdisjoint(phrasing.HELD_OUT_WRAP[language])
        for kinds in memory.KINDS.values():
            assert set(kinds[language].say).isdisjoint(kinds[language].say_held_out)
            assert set(kinds[language].ask).isdisjoint(kinds[language].ask_held_out)


def plain(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.lower())


def test_no_dialogue_asks_a_held_out_question() -> None:
    held_out = set()
    for language in LANGUAGES:
        for topic in load_topics():
            side = topic.sides[language]
            held_out |= {plain(q) for pattern in side.held_out for q in expand_all(pattern)}
            held_out |= {plain(f.replace("{t}", t)) for t in side.terms for f in phrasing.HELD_OUT_DEFINE[language]}
        for kinds in memory.KINDS.values():
            held_out |= {plain(ask) for ask in kinds[language].ask_held_out}
    asked = {plain(turn.user) for item in dialogues(11, 0, 3000) for turn in item.turns}
    assert asked.isdisjoint(held_out)


@pytest.mark.parametrize("name", sorted(facts.MAKERS))
@pytest.mark.parametrize("language", LANGUAGES)
def test_held_out_facts_are_not_trained(name: str, language: str) -> None:
    rng = random.Random(12)
    trained, held_out = (
        {plain(facts.MAKERS[name][1](language, rng, held).question) for _ in range(count)}
        for held, count in ((False, 3000), (True, 300))
    )
    assert trained.isdisjoint(held_out)


def test_every_answer_holds_the_words_it_is_judged_by() -> None:
    for topic in load_topics():
        for language in LANGUAGES:
            side = topic.sides[language]
            assert side.required, f"{topic.key} has no key words in {language}"
            for answer in side.answers:
                assert is_right(answer, side.required), f"{topic.key}: {answer}"


@pytest.mark.parametrize("name", sorted(facts.MAKERS))
@pytest.mark.parametrize("language", LANGUAGES)
def test_generated_facts_hold_their_words(name: str, language: str) -> None:
    rng = random.Random(5)
    for held_out in (False, True):
        for _ in range(150):
            fact = facts.MAKERS[name][1](language, rng, held_out)
            assert fact.language == language
            assert is_right(fact.answer, fact.required), fact


def test_a_question_of_fact_has_one_answer() -> None:
    answers: dict[str, set[str]] = defaultdict(set)
    rng = random.Random(6)
    for _ in range(20_000):
        fact = facts.fact("en", rng)
        # "-3 + ..." and the like differ in the sign they are written with only
        answers[fact.question.lower()].add(fact.answer.lower())
    assert {q: found for q, found in answers.items() if len(found) > 1} == {}


def test_sums_are_right() -> None:
    rng = random.Random(7)
    for _ in range(500):
        answer = facts.arithmetic("en", rng, False).answer
        found = re.fullmatch(r"(\d+) ([+-]) (\d+) = (\d+)\.", answer)
        assert found, answer
        first, sign, second, result = int(found[1]), found[2], int(found[3]), int(found[4])
        assert result == (first + second if sign == "+" else first - second)
        assert max(first, second, result) <= 20


def test_sums_that_are_refused_lie_outside() -> None:
    rng = random.Random(13)
    for language in LANGUAGES:
        for _ in range(500):
            question = facts.too_large(language, rng)
            first, second = (int(number) for number in re.findall(r"\d+", question))
            plus = "+" in question or "plus" in question or "加" in question
            minus = "-" in question or "minus" in question or "减" in question
            if plus:
                assert first + second > 20
            elif minus:
                assert first > 20 or first < second
            else:
                assert re.search(r"[*×x/÷]|times|divided|乘|除", question)


def test_a_follow_up_asks_the_same_of_another_thing() -> None:
    rng = random.Random(14)
    for language in LANGUAGES:
        for topic in ("capital", "opposite", "colour"):
            for _ in range(100):
                after = facts.follow_up(topic, language, rng)
                assert after is not None
                assert is_right(after.answer, after.required), after
        assert facts.follow_up("planet", language, rng) is None


def test_frames_hold_their_term_and_synonyms_change_a_question() -> None:
    rng = random.Random(15)
    for language, term, question in (
        ("en", "dropout", "how do i start the server"),
        ("zh", "随机失活", "怎么启动服务"),
    ):
        for _ in range(300):
            assert term in phrasing.frame(term, language, rng)
        others = {phrasing.synonyms(question, language, rng) for _ in range(50)}
        assert len(others) > 10
        assert phrasing.synonyms("xyz", language, rng) == "xyz"


def test_the_article_s_example_has_91_parameters() -> None:
    sizes = (2, 10, 5, 1)
    count = sum(i * o + o for i, o in pairwise(sizes))
    assert count == 91
    topic = next(topic for topic in load_topics() if topic.key == "counting parameters")
    assert all(str(count) in answer for side in topic.sides.values() for answer in side.answers)


def test_the_demo_network_is_counted_right() -> None:
    count = 784 * 128 + 128 + 128 * 10 + 10
    topic = next(topic for topic in load_topics() if topic.key == "demo network")
    assert f"{count:,}" in topic.sides["en"].answers[0]
    assert str(count) in topic.sides["zh"].answers[0]


def test_recall_is_asked_at_the_distance_wanted() -> None:
    rng = random.Random(8)
    for language in LANGUAGES:
        for distance in range(7):
            turns, last, required = memory_turns(language, rng, distance, held_out=True)
            assert len(turns) >= distance + 1
            assert is_right(last.assistant, required)
            assert required[0][0] in " ".join(turn.user for turn in turns).lower()


def test_the_evaluation_asks_in_every_category_and_language() -> None:
    probes = list(held_out_exchanges(1, generated=12))
    categories = {topic.category for topic in load_topics()} | {"facts", "unknown"}
    for language in LANGUAGES:
        assert categories <= {probe.category for probe in probes if probe.language == language}
    assert list(held_out_exchanges(1, generated=12)) == probes


def test_patterns() -> None:
    assert expand_all("how (do|can) i (stream|)") == ["how do i stream", "how do i", "how can i stream", "how can i"]
    assert expand("(a|a) b", random.Random(1)) == "a b"
    assert expand_all("POST (no alternative)") == ["POST (no alternative)"]


@pytest.mark.parametrize("line", ["nothing", "xx: what", "qe what is it"])
def test_a_line_that_is_no_topic_line_is_named(line: str) -> None:
    with pytest.raises(ValueError, match=r"demo\.txt, line 2"):
        parse(f"# topic\n{line}\n", "demo")


def test_slips_stay_small() -> None:
    rng = random.Random(9)
    for _ in range(200):
        slipped = phrasing.typo("what does dropout mean", rng)
        assert abs(len(slipped) - len("what does dropout mean")) <= 1
        assert abs(len(phrasing.typo_zh("什么是随机失活", rng)) - len("什么是随机失活")) <= 1
    assert phrasing.typo("a bc", rng) == "a bc"
    assert phrasing.typo_zh("好", rng) == "好"
