"""What belongs to a person, of open-ended kinds: a favourite book, the neighbour's name, a flight number, an appointment.

Every kind is made from two templates, "my {x} is ..." and "my favourite {x} is ...", so that the model has to learn to
copy whatever is told and to find it by its name, and not a list of kinds.
"""

# ruff: noqa: E501 - the sentences are data: a list on a line of its own reads better than one word per line

from __future__ import annotations

from app.starter.kinds import Kind, kind

_FAVOURITES = """
book/书/title; film/电影/title; movie/影片/title; song/歌/title; band/乐队/title; singer/歌手/name; writer/作家/name; drink/饮料/thing;
fruit/水果/thing; vegetable/蔬菜/thing; game/游戏/title; video game/电子游戏/title; subject/科目/thing; flower/花/thing; season/季节/thing;
day/日子/date; dish/菜/thing; dessert/甜点/thing; teacher/老师/name; actor/演员/name; player/球员/name; team/球队/title; series/电视剧/title;
cartoon/动画片/title; restaurant/餐厅/title; place/地方/title; country/国家/thing; language/语言/thing; toy/玩具/thing; car/车/title;
brand/品牌/title; shop/商店/title; tree/树/thing; bird/鸟/thing; poem/诗/title; month/月份/thing; shape/形状/thing; instrument/乐器/thing
"""
_OWN = """
mother/妈妈/name; father/爸爸/name; wife/妻子/name; husband/丈夫/name; son/儿子/name; daughter/女儿/name; sister/姐姐/name; brother/哥哥/name; little brother/弟弟/name; little sister/妹妹/name; girlfriend/女朋友/name; boyfriend/男朋友/name; mum/老妈/name; dad/老爸/name; grandma/外婆/name; grandpa/外公/name; classmate/同学/name; partner/伴侣/name; boss/老板/name; neighbour/邻居/name;
teacher/老师/name; doctor/医生/name; cousin/表弟/name; uncle/叔叔/name; aunt/阿姨/name; grandmother/奶奶/name; grandfather/爷爷/name;
roommate/室友/name; colleague/同事/name; baby/宝宝/name; horse/马/name; rabbit/兔子/name; boat/船/title; company/公司/title; school/学校/title;
street/街道/title; project/项目/title; team/队伍/title; room number/房间号/code; flight number/航班号/code; phone number/电话号码/number;
order number/订单号/code; seat/座位/code; birthday/生日/date; appointment/预约/hour; train/火车/hour; meeting/会议/hour; alarm/闹钟/hour;
exam date/考试日期/date; deadline/截止日期/date; car/车/title; phone/手机/title; computer/电脑/title; bike/自行车/thing; nickname/外号/thing;
shoe size/鞋码/number; height/身高/number; house number/门牌号/number; locker number/柜子号/code; star sign/星座/thing; blood type/血型/code;
major/专业/thing; dream job/理想职业/thing; favourite word/最喜欢的词/thing
"""


def _favourite(en: str, zh: str) -> dict[str, Kind]:
    ways = (
        "my favourite X is {v}; my favorite X is {v}; {v} is my favourite X; {v} is my favorite X; my fav X is {v}; the X i like best is {v}; the best X is {v}; "
        "the X i love most is {v}; for me {v} is the best X; my favourite X: {v}; i think {v} is the best X; my favourite X is called {v}; remember that my favourite X is {v}; "
        "i like {v} best, as a X; my all-time favourite X is {v}; when it comes to a X, i choose {v}; if you ask me for my favourite X, it's {v}; my favourite X of all is {v}; "
        "just so you know, my favourite X is {v}; you should know that my favourite X is {v}; my favourite X has always been {v}; by the way, my favourite X is {v}"
    )
    asks = (
        "what is my favourite X; what's my favourite X; what is my favorite X; whats my favorite X; which X do i like best; which X is my favourite; what X do i like; which X do i love; "
        "do you remember my favourite X; do you know my favourite X; tell me my favourite X; what was my favourite X; what was my favourite X again; name my favourite X; my favourite X; "
        "and my favourite X; what did i say my favourite X is; what X did i say i like; remember my favourite X; can you tell me my favourite X; do you still know my favourite X; "
        "what do i call my favourite X; i forgot, what is my favourite X; which X did i call the best; my favourite X is; guess my favourite X"
    )
    say_zh = (
        "我最喜欢的X是{v}; {v}是我最喜欢的X; 我最爱的X是{v}; 我最喜欢的X叫{v}; X里我最喜欢{v}; 我觉得最好的X是{v}; 要问我最喜欢的X，就是{v}; 我喜欢的X是{v}; 记住，我最喜欢的X是{v}; "
        "我一直最喜欢的X是{v}; 最喜欢的X：{v}; 说到X，我最喜欢{v}; 顺便说一下，我最喜欢的X是{v}; 对我来说{v}是最好的X; 我心中最好的X是{v}; 你知道吗，我最喜欢的X是{v}"
    )
    ask_zh = (
        "我最喜欢的X是什么; 我最喜欢什么X; 我最爱的X是什么; 我最喜欢的X; 我最喜欢的X是哪个; 你记得我最喜欢的X吗; 你知道我最喜欢的X吗; 你还记得我最喜欢什么X吗; 我喜欢哪个X; 我喜欢什么X; "
        "告诉我我最喜欢的X; 我刚才说我最喜欢的X是什么; 我说过我最喜欢什么X; 我最喜欢的X叫什么; 那我最喜欢的X呢; 我最喜欢的X是啥; 我觉得最好的X是哪个; 还记得我最喜欢的X是什么吗; 我忘了，我最喜欢的X是什么; 猜猜我最喜欢的X"
    )
    return {
        "en": kind(
            ways.replace("X", en),
            f"no {en} pleases me more than {{v}}, it is my favourite {en}; of all, {{v}} is the {en} i prefer",
            f"Noted: your favourite {en} is {{v}}.; {{v}}, good choice! I will remember it.",
            asks.replace("X", en),
            f"which {en} do i prefer over all others; could you recall my favourite {en}",
            f"Your favourite {en} is {{v}}.",
            f"You haven't told me your favourite {en} yet.",
            f"your favourite {en} is {{v}}",
        ),
        "zh": kind(
            say_zh.replace("X", zh),
            f"在所有的{zh}当中我偏爱{{v}}; 没有哪个{zh}比{{v}}更合我心意",
            f"记住了：你最喜欢的{zh}是{{v}}。; {{v}}，好选择，我记住了。",
            ask_zh.replace("X", zh),
            f"我偏爱的{zh}是哪一个; 你能想起我最喜欢的{zh}吗",
            f"你最喜欢的{zh}是{{v}}。",
            f"你还没有告诉我你最喜欢的{zh}。",
            f"你最喜欢的{zh}是{{v}}",
        ),
    }


def _own(en: str, zh: str, named: bool) -> dict[str, Kind]:
    ways = (
        "my X is {v}; remember that my X is {v}; my X: {v}; please remember my X: {v}; by the way, my X is {v}; please note that my X is {v}; keep in mind that my X is {v}; "
        "just so you know, my X is {v}; you should know that my X is {v}; {v} is my X; for later: my X is {v}; don't forget, my X is {v}; i want to tell you my X: {v}; "
        "let me tell you my X: it is {v}; the X i have is {v}; ok, my X is {v}; well, my X is {v}; note: my X is {v}; save this: my X is {v}; i have to remember my X, which is {v}"
    )
    asks = (
        "what is my X; what's my X; whats my X; what was my X; what was my X again; tell me my X; do you remember my X; do you know my X; do you still know my X; can you tell me my X; "
        "my X; my X is; and my X; say my X; what did i say about my X; what did i tell you about my X; i forgot my X, what was it; remember my X; remind me about my X; "
        "so what is my X; what did i say my X is; i need my X again; what is my X again; please tell me my X; can you remember my X; what about my X"
    )
    say_zh = (
        "我的X是{v}; 记住，我的X是{v}; 我的X：{v}; 请记住我的X：{v}; 顺便说一下，我的X是{v}; 帮我记一下，我的X是{v}; {v}是我的X; 别忘了，我的X是{v}; 告诉你，我的X是{v}; "
        "你要知道，我的X是{v}; 先说一下，我的X是{v}; 请记下我的X，是{v}; 我想告诉你我的X是{v}; 对了，我的X是{v}; 存一下：我的X是{v}"
    )
    ask_zh = (
        "我的X是什么; 我的X是啥; 我的X; 我的X呢; 告诉我我的X; 你记得我的X吗; 你知道我的X吗; 你还记得我的X是什么吗; 我刚才说我的X是什么; 我说过我的X是什么; 我忘了我的X，是什么来着; "
        "那我的X是什么; 说出我的X; 我的X是什么来着; 提醒我一下我的X; 再说一遍我的X; 关于我的X我说了什么; 请告诉我我的X; 还记得我的X吗"
    )
    if named:
        ways += "; my X is called {v}; my X's name is {v}; the name of my X is {v}; i have a X called {v}; i have a X named {v}; we call my X {v}; my X goes by {v}"
        asks += "; what is my X called; what is my X's name; what's my X's name; what is the name of my X; what's the name of my X; who is my X; do you remember the name of my X; how is my X called again; tell me the name of my X; do you know my X's name"
        say_zh += "; 我的X叫{v}; 我X叫{v}; 我X的名字是{v}; 我的X名叫{v}; 我有个X叫{v}; 我家X叫{v}"
        ask_zh += "; 我的X叫什么; 我X叫什么名字; 我的X叫什么名字; 我X的名字是什么; 我的X是谁; 你记得我X叫什么吗; 我X叫啥; 你知道我X的名字吗"
    else:
        asks += "; when or what is my X; which is my X; what have i got as my X"
        ask_zh += "; 我的X是多少; 我的X是哪个; 我的X是几"
    answer, clause = ("Your X is called {v}.", "your X is called {v}") if named else ("Your X is {v}.", "your X is {v}")
    answer_zh, clause_zh = ("你的X叫{v}。", "你的X叫{v}") if named else ("你的X是{v}。", "你的X是{v}")
    return {
        "en": kind(
            ways.replace("X", en),
            f"here is something to keep about my {en}, namely {{v}}; about my {en}: that would be {{v}}",
            f"I will remember your {en}: {{v}}.; Noted: {{v}}.; Got it, your {en}: {{v}}.",
            asks.replace("X", en),
            f"could you recall my {en} for me; which {en} did i mention",
            answer.replace("X", en),
            f"You haven't told me about your {en} yet.",
            clause.replace("X", en),
        ),
        "zh": kind(
            say_zh.replace("X", zh),
            f"有件事请记下，我{zh}是{{v}}; 说到我的{zh}，那就是{{v}}",
            f"好的，你的{zh}：{{v}}，我记住了。; 记住了：{{v}}。",
            ask_zh.replace("X", zh),
            f"你能想起我的{zh}吗; 我提到过的{zh}是哪个",
            answer_zh.replace("X", zh),
            f"你还没有告诉我你的{zh}。",
            clause_zh.replace("X", zh),
        ),
    }


def _rows(text: str) -> list[tuple[str, str, str]]:
    rows = (item.strip().split("/") for item in text.split(";"))
    return [(en, zh, sort) for en, zh, sort in rows]


SORTS: dict[str, str] = {}
"""What sort of value each kind has: `memory` makes the values."""
KINDS: dict[str, dict[str, Kind]] = {}
for _en, _zh, _sort in _rows(_FAVOURITES):
    SORTS[f"favourite {_en}"], KINDS[f"favourite {_en}"] = _sort, _favourite(_en, _zh)
for _en, _zh, _sort in _rows(_OWN):
    SORTS[f"own {_en}"] = _sort
    KINDS[f"own {_en}"] = _own(_en, _zh, _sort == "name" or _en in ("boat", "company", "school", "street", "project"))
