"""The starter's training dialogues, made from the hand-written knowledge and the patterns beside this module.

`python -m app.starter.corpus` prints some of them and how many distinct questions there are. Dialogue `i` of a seed is
always the same, on any machine: the corpus is a function, not a file. What the evaluation asks comes from here too
(`held_out_exchanges`), in phrasings that no training dialogue uses.
"""

# ruff: noqa: E501, SIM905 - the sentences are data: a list on a line of its own reads better than one word per line

from __future__ import annotations

import argparse
import math
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.starter import facts, memory, phrasing, unknown
from app.starter.topics import LANGUAGES, Exchange, Required, Topic, expand, expand_all, load_topics

REFUSAL: dict[str, Required] = {
    "en": (("don't know", "can't do"),),
    "zh": (("不知道", "做不到", "不会做"),),
}
WEIGHTS = {
    "smalltalk": 2.8,
    "itself": 1.9,
    "service": 2.0,
    "learning": 4.2,
    "society": 1.6,
    "world": 0.9,
    "facts": 3.0,
    "unknown": 2.3,
}
"""How often a conversation turns to each category."""

_MORE = {
    "en": (
        "tell me more; go on; more; can you tell me more; what else; tell me more about it; more details please; can you say more; "
        "tell me more about that; anything else; please go on; explain more; i want to know more; more please; and then; continue; elaborate; "
        "can you explain that further; give me more details; keep going"
    ).split("; "),
    "zh": "再多说一点; 继续; 还有呢; 多说一些; 能再详细一点吗; 详细说说; 然后呢; 请继续; 再说一点; 还有什么; 多讲讲; 展开说说; 能多说一点吗; 接着说; 更详细一点".split(
        "; "
    ),
}
_WHY = {
    "en": (
        "why; why?; why is that; but why; how so; how come; and why; why so; why exactly; for example; an example please; give me an example of that; can you give an example of it; "
        "simpler please; explain it simpler; that is too complicated; can you say it in simpler words; i still don't get it; i still don't understand it; is that all; details; "
        "tell me everything about it; that's not enough; more information; and what else; what does that mean exactly; can you prove it; who says that; where did you get that from; source please"
    ).split("; "),
    "zh": "为什么; 为什么呢; 为啥; 怎么会这样; 为什么这样; 举个例子吧; 给个例子说明; 能举例吗; 比如呢; 例如呢; 再简单一点; 太复杂了; 说得简单点; 还是不懂; 还是没明白; 就这些吗; 详细点; 具体一点; 不够详细; 还有吗; 具体是什么意思; 有证据吗; 谁说的; 来源是什么; 说全一点".split(
        "; "
    ),
}
_THAT_IS_ALL = {
    "en": [
        "That is all I know about it, sorry: I am a very small model.",
        "I can't say more about it, sorry. I only know a little of everything.",
    ],
    "zh": ["抱歉，我只知道这些：我是个很小的模型。", "抱歉，我说不了更多了，每样我都只懂一点点。"],
}
"""What follows up an answer to which nothing can be added."""
_IT = {
    "en": "how does it work; what is it good for; what is it used for; what does it do; what is that; what is it; explain it; define it; what's that; and what is that; what's it for; how would you explain it; what does it mean; describe it; explain that again; explain it again; summarise it; in one sentence".split(
        "; "
    ),
    "zh": "它是什么; 它有什么用; 它怎么工作; 那是什么; 它是做什么的; 解释一下它; 再解释一遍; 这是什么意思呢; 它的作用是什么; 再解释一下; 那是什么意思; 总结一下它; 用一句话说".split(
        "; "
    ),
}
_AGAIN = {
    "en": "say that again; repeat that; can you repeat that; again please; repeat your answer; what did you say; pardon; come again; repeat please; say it again".split(
        "; "
    ),
    "zh": "再说一遍; 重复一遍; 请再说一次; 你刚才说什么; 没听清; 再说一次; 请重复".split("; "),
}
_ASKED = {
    "en": "what did i just ask; what did i ask you; what was my question; what was my last question; repeat my question".split(
        "; "
    ),
    "zh": "我刚才问了什么; 我问了什么; 我刚刚问的是什么; 我上一个问题是什么; 重复我的问题".split("; "),
}
_IN_OTHER = {
    "en": "say it in chinese; in chinese please; and in chinese; can you say that in chinese; 用中文说; translate that to chinese; 中文; 请用中文; how do you say that in chinese".split(
        "; "
    ),
    "zh": "用英语说; 用英文说; 请用英语再说一遍; 英文呢; 用英文回答; in english please; 换成英文; say it in english; 英语怎么说".split(
        "; "
    ),
}
_SYSTEM = {
    "en": (
        "You are a helpful assistant.|You are Troika, a small chat model.|Answer briefly.|You are a friendly assistant. Keep answers short.|"
        "You are a helpful, honest assistant.|Be polite and concise.|You are an AI tutor for deep learning.|Answer the user's questions.|"
        "You are a patient teacher who explains things simply.|Help the user with the Troika service."
    ).split("|"),
    "zh": "你是一个有用的助手。|你是 Troika，一个小小的聊天模型。|请简短回答。|你是一个友好的助手。|请礼貌地回答问题。|你是深度学习的老师。|请帮助用户。|你是一个诚实的助手。".split(
        "|"
    ),
}
_SYSTEM_LANGUAGE = {
    "en": "Always answer in English.|Answer in English.|Please reply in English.|请用英语回答。|Speak English only.".split(
        "|"
    ),
    "zh": "Always answer in Chinese.|Answer in Chinese.|请用中文回答。|总是用中文回答。|Reply in Chinese only.|只说中文。".split(
        "|"
    ),
}
_ASK_LANGUAGE = {
    "en": [
        "{q} answer in english",
        "{q} (in english please)",
        "{q}，请用英语回答",
        "{q} 用英文回答",
        "in english: {q}",
    ],
    "zh": [
        "{q} answer in chinese",
        "{q} (in chinese please)",
        "{q}，请用中文回答",
        "{q} 用中文回答",
        "in chinese: {q}",
    ],
}


@dataclass(frozen=True)
class Turn:
    """What the person says and what the starter answers."""

    user: str
    assistant: str


@dataclass(frozen=True)
class Dialogue:
    """One conversation; `system` is empty where there is no system message."""

    turns: tuple[Turn, ...]
    system: str = ""


@dataclass(frozen=True)
class Probe:
    """A conversation whose last turn is to be answered, and what the answer must hold."""

    category: str
    language: str
    turns: tuple[Turn, ...]
    question: str
    required: Required
    topic: str = ""


def _other(language: str) -> str:
    return "zh" if language == "en" else "en"


def _by_category() -> dict[str, list[Topic]]:
    found: dict[str, list[Topic]] = {}
    for topic in load_topics():
        found.setdefault(topic.category, []).append(topic)
    return found


def _bare(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.lower())


_HELD_OUT = frozenset(
    _bare(question)
    for topic in load_topics()
    for side in topic.sides.values()
    for pattern in side.held_out
    for question in expand_all(pattern)
)
"""What only the evaluation asks: a synonym or a slip may lead there by chance."""


def topic_question(topic: Topic, language: str, rng: random.Random) -> str:
    """One of the ways to ask for a topic, before wrapping and styling."""
    asked = _topic_question(topic, language, rng)
    while _bare(asked) in _HELD_OUT:  # "good bye" and "goodbye" are two readings and one question
        asked = _topic_question(topic, language, rng)
    other = phrasing.synonyms(asked, language, rng) if rng.random() < 0.2 else asked
    return asked if _bare(other) in _HELD_OUT else other


def _topic_question(topic: Topic, language: str, rng: random.Random) -> str:
    side = topic.sides[language]
    # A term alone opens dozens of frames; the whole questions share what is left.
    by_term = 0.0 if not side.terms else 0.4 if side.questions else 1.0
    if rng.random() < by_term:
        terms = side.terms
        if rng.random() < 0.06 and topic.sides[_other(language)].terms:
            terms = topic.sides[_other(language)].terms
        return phrasing.frame(expand(rng.choice(terms), rng), language, rng)
    return expand(rng.choice(side.questions), rng)


def _polish(question: str, language: str, rng: random.Random) -> str:
    """Wrapped now and then, and styled as people type."""
    if rng.random() < 0.22:
        question = phrasing.wrap(question, language, rng)
        if rng.random() < 0.1:
            question = phrasing.wrap(question, language, rng)
    return phrasing.style(question, language, rng)


def _topic_turns(topic: Topic, language: str, rng: random.Random) -> list[Turn]:
    question = topic_question(topic, language, rng)
    if language == "zh" and _LATIN_ONLY.search(question) and question not in _CHINESE_IN_LATIN:
        language = "en"  # a bare "gpt2" says nothing of the language: English, as for any text in Latin letters
    side = topic.sides[language]
    luck = rng.random()
    if luck < 0.025:
        reply_in = rng.choice(LANGUAGES)
        asked = rng.choice(_ASK_LANGUAGE[reply_in]).replace("{q}", question)
        return [Turn(phrasing.style(asked, language, rng), rng.choice(topic.sides[reply_in].answers))]
    small = topic.category == "smalltalk"
    user = phrasing.style(question, language, rng) if small and rng.random() < 0.8 else _polish(question, language, rng)
    user = question if _bare(user) in _HELD_OUT else user
    answer = rng.choice(side.answers)
    turns = [Turn(user, answer)]
    if luck < 0.09 and (side.more or luck < (0.03 if small else 0.06)):
        ask = rng.choice(_MORE[language] if rng.random() < 0.4 else _WHY[language])
        turns.append(Turn(phrasing.style(ask, language, rng), rng.choice(side.more or _THAT_IS_ALL[language])))
    elif luck < 0.10 and side.terms:
        turns.append(Turn(phrasing.style(rng.choice(_IT[language]), language, rng), answer))
    elif luck < 0.115:
        turns.append(Turn(phrasing.style(rng.choice(_AGAIN[language]), language, rng), answer))
    elif luck < 0.125:
        asked = f'You asked: "{user}"' if language == "en" else f"你问的是：“{user}”"
        turns.append(Turn(phrasing.style(rng.choice(_ASKED[language]), language, rng), asked))
    elif luck < 0.15:
        ask = phrasing.style(rng.choice(_IN_OTHER[language]), language, rng)
        same = topic.sides[_other(language)].answers
        turns.append(Turn(ask, same[side.answers.index(answer) % len(same)]))
    return turns


def unknown_exchange(language: str, rng: random.Random, held_out: bool = False) -> Exchange:
    """A question from outside, with one of the honest answers."""
    sorts, shares = ("frame", "thing", "now", "advice", "task", "sum"), (0.31, 0.25, 0.15, 0.10, 0.14, 0.05)
    sort = rng.choices(sorts, shares)[0]
    if sort == "frame":
        things = (unknown.HELD_OUT_THINGS if held_out else unknown.THINGS)[language]
        if rng.random() < 0.5 and not held_out:
            made = memory.invented(rng).lower() if language == "en" else unknown.foreign(rng)
            if language == "en" and rng.random() < 0.3:
                made = (
                    f"{rng.choice(things).split()[-1]} {made}"
                    if rng.random() < 0.5
                    else f"the {made} {memory.invented(rng).lower()}"
                )
            things = [made]
        question, sort = phrasing.frame(rng.choice(things), language, rng, held_out), "thing"
    elif sort == "sum":
        question = facts.too_large(language, rng, held_out)
    else:
        question = unknown.question(sort, language, rng, held_out)
    if not held_out and rng.random() < 0.2:
        question = phrasing.synonyms(question, language, rng)
    return Exchange("unknown", language, question, rng.choice(unknown.ANSWERS[sort][language]), REFUSAL[language], sort)


def _draws(topic: Topic) -> float:
    """How often a topic is drawn against others of its category: the more ways to ask for it, the more there is to learn."""
    ways = sum(len(side.questions) + (30 if side.terms else 0) for side in topic.sides.values())
    return math.sqrt(ways)


_CATEGORIES = _by_category()
_DRAWS = {name: [_draws(topic) for topic in topics] for name, topics in _CATEGORIES.items()}
_WHY_SO_LITTLE = next(topic for topic in _CATEGORIES["itself"] if topic.key == "why so little")
_BARE_WHY = {"en": 9, "zh": 5}
"""How many of the first of `_WHY` ask for nothing but a reason."""
_LATIN_ONLY = re.compile(r"^(?=.*[A-Za-z])[^\u4e00-\u9fff]*$")
_CHINESE_IN_LATIN = {"nihao", "ni hao", "3q"}
_NAMES = [name for name in WEIGHTS if name in _CATEGORIES or name in ("facts", "unknown")]
_SHARES = [WEIGHTS[name] for name in _NAMES]


def _repeat_turn(language: str, rng: random.Random) -> Turn:
    said = memory.words(language, rng)
    return Turn(rng.choice(memory.REPEAT[language]).replace("{v}", said), said)


def segment(language: str, rng: random.Random) -> list[Turn]:
    """One or two turns about one thing."""
    if rng.random() < 0.09:
        return [_repeat_turn(language, rng)]
    category = rng.choices(_NAMES, _SHARES)[0]
    if category == "facts":
        fact = facts.fact(language, rng)
        turns = [Turn(_polish(fact.question, language, rng), fact.answer)]
        while rng.random() < 0.12 and (after := facts.follow_up(fact.topic, language, rng)):
            turns.append(Turn(phrasing.style(after.question, language, rng), after.answer))
        if rng.random() < 0.04:
            ask = phrasing.style(rng.choice(_WHY[language]), language, rng)
            turns.append(Turn(ask, rng.choice(_THAT_IS_ALL[language])))
        return turns
    if category == "unknown":
        exchange = unknown_exchange(language, rng)
        turns = [Turn(_polish(exchange.question, language, rng), exchange.answer)]
        if rng.random() < 0.12:
            reasons = _WHY_SO_LITTLE.sides[language]
            ask = (
                rng.choice(_WHY[language][: _BARE_WHY[language]])
                if rng.random() < 0.4
                else expand(rng.choice(reasons.questions), rng)
            )
            turns.append(Turn(phrasing.style(ask, language, rng), rng.choice(reasons.answers)))
        return turns
    topic = rng.choices(_CATEGORIES[category], _DRAWS[category])[0]
    return _topic_turns(topic, language, rng)


_JOINERS = {"en": (" and ", " and ", ", ", ", and ", ". ", "; "), "zh": ("，", "，", "，", "。", "，还有", "；")}
_NOTED = {
    "en": ("Thanks, I will remember that: {c}.", "Got it: {c}.", "Noted: {c}."),
    "zh": ("好的，我记住了：{c}。", "记住了：{c}。"),
}


def _listed(clauses: Sequence[str], language: str) -> str:
    if language == "zh":
        return "，".join(clauses)
    return ", ".join(clauses[:-1]) + (" and " if len(clauses) > 1 else "") + clauses[-1]


def _statement(kind: str, language: str, said: str, rng: random.Random, held_out: bool = False) -> str:
    facets = memory.KINDS[kind][language]
    return rng.choice(facets.say_held_out if held_out else facets.say).replace("{v}", said)


def _plain_style(text: str, language: str, rng: random.Random, said: Sequence[str]) -> str:
    """Casing and punctuation that leave the values to remember as they are."""
    if rng.random() < 0.3:
        return (
            phrasing.style(text, language, rng, rough=0.0)
            if all(v.islower() or not v.isascii() for v in said)
            else text
        )
    text = text[:1].upper() + text[1:] if language == "en" and rng.random() < 0.5 else text
    return text + rng.choice(("", ".", "!") if language == "en" else ("", "。", "！"))


def memory_turns(
    language: str, rng: random.Random, distractors: int, held_out: bool = False
) -> tuple[list[Turn], Turn, Required]:
    """Facts told, other talk between, then the turn that asks for one of them, with the words it must hold."""
    if held_out:  # the kinds and joints of the first measurement, so that figures of later ones compare
        kinds = rng.sample(memory.COMMON, rng.choices((1, 2, 3), (0.62, 0.27, 0.11))[0])
    else:
        kinds = memory.pick(rng.choices((1, 2, 3, 4), (0.56, 0.27, 0.12, 0.05))[0], rng)
    values = {kind: memory.value(kind, language, rng) for kind in kinds}
    told: list[list[Turn]] = []
    if (len(kinds) == 2 or (len(kinds) > 2 and not held_out)) and rng.random() < 0.5:
        joiner = _JOINERS[language][0] if held_out else rng.choice(_JOINERS[language])
        joint = joiner.join(_statement(k, language, values[k], rng, held_out) for k in kinds)
        clauses = [memory.KINDS[k][language].clause.replace("{v}", values[k]) for k in kinds]
        reply = rng.choice(_NOTED[language]).replace("{c}", _listed(clauses, language))
        told.append([Turn(_plain_style(joint, language, rng, list(values.values())), reply)])
    else:
        for kind in kinds:
            said = _statement(kind, language, values[kind], rng, held_out)
            ack = rng.choice(memory.KINDS[kind][language].acknowledge).replace("{v}", values[kind])
            told.append([Turn(_plain_style(said, language, rng, [values[kind]]), ack)])
    target = rng.choice(kinds)
    if not held_out and rng.random() < 0.06:
        values[target] = memory.value(target, language, rng)
        said = rng.choice(memory.CORRECT[language]).replace("{s}", _statement(target, language, values[target], rng))
        ack = rng.choice(memory.KINDS[target][language].acknowledge).replace("{v}", values[target])
        told.append([Turn(_plain_style(said, language, rng, [values[target]]), ack)])
    turns = [turn for block in told for turn in block]
    between: list[Turn] = []
    while len(between) < distractors:
        between += segment(language, rng)
    turns += between[:distractors]
    facets = memory.KINDS[target][language]
    if not held_out and rng.random() < 0.07:
        clauses = [memory.KINDS[k][language].clause.replace("{v}", values[k]) for k in kinds]
        listed = _listed(clauses, language)
        answer = f"You told me that {listed}." if language == "en" else f"你告诉过我：{listed}。"
        return turns, Turn(phrasing.style(rng.choice(memory.EVERYTHING[language]), language, rng), answer), ()
    if not held_out and len(kinds) > 1 and rng.random() < 0.12:  # asked for two at once
        both = rng.sample(kinds, 2)
        ask = rng.choice(_JOINERS[language]).join(rng.choice(memory.KINDS[k][language].ask) for k in both)
        answers = [memory.KINDS[k][language].answer.replace("{v}", values[k]) for k in both]
        return turns, Turn(phrasing.style(ask, language, rng), (" " if language == "en" else "").join(answers)), ()
    if not held_out and rng.random() < 0.10:
        missing = next(k for k in memory.pick(len(kinds) + 1, rng) if k not in kinds)
        facets = memory.KINDS[missing][language]
        return turns, Turn(phrasing.style(rng.choice(facets.ask), language, rng), facets.unknown), ()
    ask = rng.choice(facets.ask_held_out if held_out else facets.ask)
    ask = phrasing.style(ask, language, rng, 0.3) if held_out or rng.random() < 0.8 else _polish(ask, language, rng)
    return turns, Turn(ask, facets.answer.replace("{v}", values[target])), ((values[target].lower(),),)


def _memory_dialogue(language: str, rng: random.Random) -> list[Turn]:
    if rng.random() < 0.08:  # asked for what was never told
        facets = memory.KINDS[memory.pick(1, rng)[0]][language]
        before = segment(language, rng) if rng.random() < 0.4 else []
        return [*before, Turn(_polish(rng.choice(facets.ask), language, rng), facets.unknown)]
    distance = rng.choices((0, 1, 2, 3, 4, 5, 6), (0.30, 0.22, 0.17, 0.12, 0.09, 0.06, 0.04))[0]
    lead = segment(language, rng) if rng.random() < 0.25 else []
    turns, last, _ = memory_turns(language, rng, distance)
    return [*lead, *turns, last]


def dialogue(seed: int, index: int) -> Dialogue:
    """Dialogue `index` of the endless corpus of `seed`."""
    rng = random.Random(f"{seed}/{index}")
    language = "en" if rng.random() < 0.53 else "zh"
    system = ""
    if rng.random() < 0.10:
        system = rng.choice(_SYSTEM[rng.choice(LANGUAGES)])
    if rng.random() < 0.24:
        return Dialogue(tuple(_memory_dialogue(language, rng)), system)
    if rng.random() < 0.02:
        reply_in = rng.choice(LANGUAGES)
        topic = rng.choice(load_topics())
        asked = _polish(topic_question(topic, language, rng), language, rng)
        return Dialogue(
            (Turn(asked, rng.choice(topic.sides[reply_in].answers)),), rng.choice(_SYSTEM_LANGUAGE[reply_in])
        )
    length = rng.choices((1, 2, 3, 4, 6, 9), (0.58, 0.17, 0.10, 0.07, 0.05, 0.03))[0]
    turns: list[Turn] = []
    while len(turns) < length:
        turns += segment(_other(language) if rng.random() < 0.06 else language, rng)
    return Dialogue(tuple(turns), system)


def dialogues(seed: int, start: int, count: int) -> Iterator[Dialogue]:
    """Dialogues `start` to `start + count`."""
    for index in range(start, start + count):
        yield dialogue(seed, index)


def held_out_exchanges(seed: int, per_topic: int = 2, generated: int = 150) -> Iterator[Probe]:
    """What the evaluation asks: held-out questions, frames and wrappings for every topic, facts and unknown things."""
    rng = random.Random(f"held out/{seed}")
    for language in LANGUAGES:
        for topic in load_topics():
            side = topic.sides[language]
            asked = [reading for pattern in side.held_out for reading in expand_all(pattern)]
            while side.terms and len(asked) < per_topic + len(side.held_out):
                asked.append(phrasing.frame(expand(rng.choice(side.terms), rng), language, rng, held_out=True))
            while len(asked) < per_topic:
                asked.append(phrasing.wrap(topic_question(topic, language, rng), language, rng, held_out=True))
            for question in asked:
                yield Probe(
                    topic.category, language, (), phrasing.style(question, language, rng, 0.5), side.required, topic.key
                )
        for _ in range(generated):
            fact = facts.fact(language, rng, held_out=True)
            yield Probe(
                "facts", language, (), phrasing.style(fact.question, language, rng, 0.3), fact.required, fact.topic
            )
        for _ in range(generated):
            outside = unknown_exchange(language, rng, held_out=True)
            yield Probe(
                "unknown",
                language,
                (),
                phrasing.style(outside.question, language, rng, 0.5),
                outside.required,
                outside.topic,
            )
        for distance in range(1, 7):
            for _ in range(generated // 3):
                turns, last, required = memory_turns(language, rng, distance - 1, held_out=True)
                yield Probe(f"memory {distance}", language, tuple(turns), last.user, required, "memory")


def main() -> None:
    """Prints some dialogues and the size of what they are drawn from."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--count", type=int, default=10, help="dialogues to print (10)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for item in dialogues(options.seed, 0, options.count):
        if item.system:
            print(f"system    {item.system}")
        for turn in item.turns:
            print(f"user      {turn.user}\nassistant {turn.assistant}")
        print()
    topics = load_topics()
    for language in LANGUAGES:
        sides = [topic.sides[language] for topic in topics]
        questions = sum(len(expand_all(q)) for side in sides for q in side.questions)
        framed = sum(len(side.terms) for side in sides) * len(phrasing.DEFINE[language])
        print(
            f"{language}: {len(topics)} topics, {questions} whole questions, {framed} framed ones, before wrapping and slips"
        )


if __name__ == "__main__":
    main()
