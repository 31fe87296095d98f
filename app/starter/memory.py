"""What a person tells about themselves and asks back turns later: names, places, favourites, numbers.

The values are mostly made up on the spot, so that the model can't learn them by heart and has to look them up
in the conversation. Each kind of fact has ways to state it, an acknowledgement, ways to ask, an answer, and an
answer for when it was never told.
"""

# ruff: noqa: E501, SIM905 - the sentences are data: a list on a line of its own reads better than one word per line

from __future__ import annotations

import random

from app.starter import belongings
from app.starter.kinds import Kind, kind

NAMES = (
    "Anna Ben Carla David Emma Felix Grace Henry Ida Jack Karen Leo Maria Nina Oscar Paula Quentin Rosa Sam Tina "
    "Victor Wendy Yusuf Zoe Ali Bob Alice Tom Lucy Mike Sarah John Peter Julia Mark Laura Omar Fatima Ivan Olga "
    "Hans Greta Pierre Chloe Diego Sofia Kenji Yuki Raj Priya Amir Leila Kofi Ama Lars Freya Max Mia Noah Ella "
    "Daniel James Robert Linda Susan Paul Kevin Brian Eric Jane Kate Nick Alex Chris Sandra Steve Tony Rick Maya "
    "Wei Ming Li Chen Hua Bo Jun Mei Lin"
).split()
SURNAMES_ZH = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕"
GIVEN_ZH = "明华伟芳娜敏静丽强磊军洋勇艳杰娟涛超秀霞平刚桂英文辉玲宇欣佳雪晨阳浩然子涵梓轩雨桐思远一诺小红小刚晓东建国"
CITIES = (
    "Berlin Paris London Madrid Rome Vienna Prague Lisbon Oslo Dublin Athens Cairo Tokyo Seoul Delhi Mumbai Lima "
    "Quito Boston Chicago Toronto Sydney Nairobi Lagos Hamburg Munich Lyon Porto Milan Naples Kyoto Osaka Beijing "
    "Shanghai Shenzhen Chengdu Denver Seattle Austin Dallas Bergen Ghent Basel Zurich Geneva Kazan Tunis"
).split()
CITIES_ZH = (
    "北京 上海 广州 深圳 成都 杭州 南京 武汉 西安 重庆 天津 苏州 长沙 青岛 厦门 大连 昆明 哈尔滨 沈阳 郑州 "
    "济南 合肥 福州 南昌 贵阳 兰州 海口 桂林 拉萨 宁波 无锡 东京 巴黎 伦敦 柏林 纽约 首尔 罗马 香港 台北"
).split()
COLOURS = "red blue green yellow purple orange pink black white brown grey silver gold turquoise violet".split()
COLOURS_ZH = "红色 蓝色 绿色 黄色 紫色 橙色 粉色 黑色 白色 棕色 灰色 银色 金色 青色".split()
FOODS = (
    "pizza pasta sushi rice noodles dumplings soup salad bread cheese chocolate curry pancakes tacos ramen "
    "apples bananas strawberries mangoes cherries tofu fish chicken potatoes tomatoes ice-cream cake"
).split()
FOODS_ZH = (
    "面条 饺子 米饭 火锅 烤鸭 包子 豆腐 鱼 牛肉 披萨 寿司 蛋糕 巧克力 苹果 香蕉 草莓 西瓜 芒果 馒头 粥 汤圆 冰淇淋"
).split()
ANIMALS = (
    "cat dog horse rabbit panda tiger lion elephant dolphin whale eagle owl fox wolf bear penguin turtle frog".split()
)
ANIMALS_ZH = "猫 狗 马 兔子 熊猫 老虎 狮子 大象 海豚 鲸鱼 老鹰 猫头鹰 狐狸 狼 熊 企鹅 乌龟 青蛙".split()
JOBS = (
    "teacher nurse doctor engineer farmer baker pilot student lawyer painter musician cook driver writer plumber "
    "carpenter gardener programmer designer librarian"
).split()
JOBS_ZH = "老师 护士 医生 工程师 农民 面包师 飞行员 学生 律师 画家 音乐家 厨师 司机 作家 木匠 程序员 设计师".split()
HOBBIES = (
    "swimming reading chess football tennis painting dancing hiking cooking singing running cycling gardening "
    "photography fishing knitting skiing climbing yoga basketball"
).split()
HOBBIES_ZH = "游泳 看书 下棋 踢足球 打网球 画画 跳舞 爬山 做饭 唱歌 跑步 骑车 种花 摄影 钓鱼 滑雪 打篮球 听音乐".split()

_ONSETS = "b c d f g h j k l m n p r s t v w z br cl dr fl gr kr pl st tr sh ch th".split()
_VOWELS = "a e i o u a e i o ai ea oo ou".split()
_CODAS = ["", "", "", "n", "r", "l", "s", "m", "k", "x", "nd", "th", "lo", "ra", "na"]
_HAN = "云山水风月星雨雪花木石海天光金玉龙凤鹤松竹兰梅青白安康乐福春夏秋冬东西南北河湖江城村桥岭原泉沙岛湾关州阳阴古新"


def invented(rng: random.Random) -> str:
    """A capitalised word that nobody has used before, two to three syllables."""
    word = "".join(
        rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in range(rng.choice((1, 2, 2, 3)))
    )
    return word.capitalize()


def _name(language: str, rng: random.Random) -> str:
    if language == "en" or rng.random() < 0.15:
        return rng.choice(NAMES) if rng.random() < 0.4 else invented(rng)
    luck = rng.random()
    if luck < 0.3:
        return "小" + rng.choice(GIVEN_ZH)
    return rng.choice(SURNAMES_ZH) + "".join(rng.choice(GIVEN_ZH) for _ in range(rng.choice((1, 2))))


def _city(language: str, rng: random.Random) -> str:
    if language == "en":
        return rng.choice(CITIES) if rng.random() < 0.5 else invented(rng)
    return rng.choice(CITIES_ZH) if rng.random() < 0.6 else "".join(rng.choice(_HAN) for _ in range(2))


def _number(language: str, rng: random.Random) -> str:
    return str(rng.randrange(10 ** rng.choice((1, 2, 2, 3, 4))))


def _age(language: str, rng: random.Random) -> str:
    return str(rng.randrange(6, 95))


def _word(language: str, rng: random.Random) -> str:
    if language == "en":
        return rng.choice((*FOODS, *ANIMALS, *COLOURS)) if rng.random() < 0.5 else invented(rng).lower()
    if rng.random() < 0.5:
        return rng.choice((*FOODS_ZH, *ANIMALS_ZH, *COLOURS_ZH))
    return "".join(rng.choice(_HAN) for _ in range(2))


def words(language: str, rng: random.Random) -> str:
    """A few words without any sense, to be repeated."""
    if language == "en":
        return " ".join(
            _word(language, rng) if rng.random() < 0.8 else _number(language, rng) for _ in range(rng.randrange(1, 8))
        )
    if rng.random() < 0.3:
        return " ".join(_word(language, rng) for _ in range(rng.randrange(1, 5)))
    return "".join(rng.choice(_HAN + GIVEN_ZH) for _ in range(rng.randrange(2, 13)))


def _from(english: list[str], chinese: list[str]) -> dict[str, list[str]]:
    return {"en": english, "zh": chinese}


_LISTS = {
    "colour": _from(COLOURS, COLOURS_ZH),
    "food": _from(FOODS, FOODS_ZH),
    "animal": _from(ANIMALS, ANIMALS_ZH),
    "job": _from(JOBS, JOBS_ZH),
    "hobby": _from(HOBBIES, HOBBIES_ZH),
}
_MAKERS = {"name": _name, "friend": _name, "pet": _name, "city": _city, "number": _number, "age": _age, "word": _word}


def _title(language: str, rng: random.Random) -> str:
    if language == "en":
        last = rng.choice((*ANIMALS, "river", "house", "garden", "night", "road", "star")).capitalize()
        return rng.choice((invented(rng), f"The {rng.choice(COLOURS).capitalize()} {last}", f"{invented(rng)} {last}"))
    return "".join(rng.choice(_HAN) for _ in range(rng.randrange(2, 5)))


def _thing(language: str, rng: random.Random) -> str:
    if language == "en":
        return invented(rng) if rng.random() < 0.5 else rng.choice((invented(rng).lower(), *FOODS, *COLOURS, *ANIMALS))
    return rng.choice(FOODS_ZH + COLOURS_ZH) if rng.random() < 0.3 else "".join(rng.choice(_HAN) for _ in range(2))


def _code(language: str, rng: random.Random) -> str:
    letters = "".join(rng.choice("ABCDEFGHKLMNPRSTUVWXYZ") for _ in range(rng.randrange(4)))
    return f"{letters}{rng.randrange(10 ** rng.randrange(1, 5))}"


def _date(language: str, rng: random.Random) -> str:
    month, day = rng.randrange(1, 13), rng.randrange(1, 29)
    if language == "zh":
        return f"{month}月{day}日"
    names = "January February March April May June July August September October November December".split()
    return f"{names[month - 1]} {day}" if rng.random() < 0.5 else f"{day} {names[month - 1]}"


def _hour(language: str, rng: random.Random) -> str:
    hour = rng.randrange(1, 24)
    if language == "zh":
        return f"{hour}点" if rng.random() < 0.6 else f"{hour}点{rng.randrange(10, 60)}分"
    return f"{hour}:{rng.choice(('00', '15', '30', '45', '10', '20'))}"


_SORTS = {
    "title": _title, "thing": _thing, "code": _code, "date": _date, "hour": _hour, "name": _name, "number": _number,
}  # fmt: skip


def value(kind: str, language: str, rng: random.Random) -> str:
    """A value for a kind of fact."""
    if kind in _LISTS:
        if language == "en" and kind in ("food", "animal", "hobby") and rng.random() < 0.1:
            return invented(rng).lower()
        return rng.choice(_LISTS[kind][language])
    if kind in belongings.SORTS:
        return _SORTS[belongings.SORTS[kind]](language, rng)
    return _MAKERS[kind](language, rng)


KINDS: dict[str, dict[str, Kind]] = {
    "name": {
        "en": kind(
            "my name is {v}; my name's {v}; i am {v}; i'm {v}; call me {v}; you can call me {v}; hi, i'm {v}; "
            "hello, my name is {v}; hi my name is {v}; hello i am {v}; they call me {v}; please call me {v}; it's {v} here; "
            "{v} is my name; the name is {v}; hey there, i'm {v}; i am called {v}; hi! {v} here; "
            "my name is {v}, nice to meet you; my name is {v}, please remember it; remember my name: {v}; this is {v}; my first name is {v}; my full name is {v}; everyone calls me {v}; my friends call me {v}; people call me {v}; name's {v}; i go by {v}; i go by the name {v}; you are talking to {v}; you're talking with {v}; hello bot, i'm {v}; hey, my name is {v}; ok my name is {v}; so my name is {v}; just call me {v}; {v} here; hello, {v} here; let me tell you my name: {v}; my name: {v}; by the way, my name is {v}; i'm {v}, by the way; the name's {v}; i am {v} and i am new here; hi, i am {v}, how are you; i want you to know that my name is {v}; don't forget that my name is {v}; please remember that i am called {v}; i'm called {v}; good day, i am {v}; my nickname is {v}; my user name is {v}",
            "people know me as {v}; let me introduce myself, i am {v}; good morning, my name is {v}",
            "Nice to meet you, {v}!; Hello {v}, nice to meet you!; Pleased to meet you, {v}. What can I do for you?; "
            "Hi {v}! I will remember your name in this conversation.",
            "what is my name; what's my name; who am i; do you remember my name; do you know my name; tell me my name; "
            "what did i say my name was; what was my name; can you tell me my name; say my name; my name is; "
            "what am i called; do you know who i am; how am i called; you remember my name, right; what name did i give you; "
            "what did i tell you my name is; do you still remember my name; can you remember my name; my name; what's my name again; what is my name again; what was my name again; whats my name; who am i again; do you recall my name; can you say my name; could you tell me my name; please tell me my name; tell me who i am; and my name; and what is my name; so what is my name; so who am i; ok what's my name; now what is my name; what do people call me; what should you call me; how do people call me; do you know how i am called; i forgot my name, what is it; my name please; you know my name, right; what's the name i told you; what name did i say; with whom are you talking; who are you talking to; who is talking to you now; what did i say i am called; name me; do you still know my name; do you still know who i am; can you remember who i am; what is the name of the user",
            "could you repeat my name; have you forgotten my name; which name did i tell you; remind me what my name is",
            "Your name is {v}.",
            "You haven't told me your name yet. What should I call you?",
            "your name is {v}",
        ),
        "zh": kind(
            "我叫{v}; 我的名字是{v}; 我是{v}; 你好，我叫{v}; 你好，我是{v}; 叫我{v}; 你可以叫我{v}; 大家都叫我{v}; "
            "我的名字叫{v}; 我名叫{v}; 请叫我{v}; 嗨，我是{v}; 我叫{v}，很高兴认识你; 我叫{v}，请记住; 记住，我叫{v}; "
            "我姓名是{v}; 您好，我叫{v}; 本人{v}; 我的名字是{v}，记住了吗; 我就是{v}; 我的全名是{v}; 我的昵称是{v}; 朋友叫我{v}; 人们叫我{v}; 同学都叫我{v}; 你就叫我{v}吧; 叫我{v}就好; 叫我{v}就行; 我名字叫{v}; 名字：{v}; 我的名字：{v}; 顺便说一下，我叫{v}; 对了，我叫{v}; 嘿，我叫{v}; 哈喽，我是{v}; 你在和{v}说话; 我的名字是{v}哦; 我叫{v}，你呢; 我叫{v}，别忘了; 别忘了我叫{v}; 请记住我叫{v}; 请记住我的名字：{v}; 记住我的名字是{v}; 先介绍一下，我是{v}; 在下{v}; 你好呀，我叫{v}; 我姓名叫{v}; 我是{v}，请多关照",
            "自我介绍一下，我叫{v}; 早上好，我是{v}; 朋友们叫我{v}",
            "你好，{v}！很高兴认识你。; 很高兴认识你，{v}！; {v}，你好！有什么我可以帮你的吗？; 好的，{v}，我记住你的名字了。",
            "我叫什么; 我叫什么名字; 我的名字是什么; 你还记得我的名字吗; 你记得我叫什么吗; 我是谁; 你知道我是谁吗; 你知道我叫什么吗; "
            "说出我的名字; 我刚才说我叫什么; 我的名字是; 还记得我叫什么吗; 我叫啥; 告诉我我的名字; 我叫什么来着; 你知道我的名字吗; "
            "我名字是什么; 你记得我是谁吗; 我的名字; 我叫什么名字呀; 我叫什么名字来着; 我的名字叫什么; 我的名字是啥; 我名叫什么; 我是谁来着; 那我叫什么; 那我的名字是什么; 现在我叫什么; 请说出我的名字; 说一下我的名字; 说说我的名字; 告诉我我是谁; 你还知道我叫什么吗; 你还记得我是谁吗; 你还知道我的名字吗; 记得我的名字吗; 记得我是谁吗; 还知道我是谁吗; 我刚才说我的名字是什么; 我告诉过你我叫什么; 我跟你说过我的名字吗; 我说过我叫什么; 该怎么称呼我; 你该叫我什么; 你怎么称呼我; 别人叫我什么; 知道我叫啥不; 用户叫什么名字; 和你说话的是谁",
            "你能说出我的名字吗; 我前面说我叫什么来着; 你忘记我的名字了吗; 请重复一下我的名字",
            "你叫{v}。",
            "你还没有告诉我你的名字。我该怎么称呼你？",
            "你叫{v}",
        ),
    },
    "city": {
        "en": kind(
            "i live in {v}; i am from {v}; i'm from {v}; my home town is {v}; my hometown is {v}; i come from {v}; my city is {v}; "
            "i live in {v} now; i was born in {v}; i moved to {v}; my home is in {v}; i grew up in {v}; i'm living in {v}; "
            "we live in {v}; home for me is {v}; i'm living in {v} at the moment; i live in a place called {v}; i live near {v}; i am living in {v}; i currently live in {v}; my place is in {v}; i reside in {v}; i stay in {v}; my family lives in {v}; i was raised in {v}; i am at home in {v}; my birthplace is {v}; i hail from {v}; hello from {v}; greetings from {v}; i'm writing from {v}; my town is {v}; the city i live in is {v}; i've lived in {v} for years; originally i am from {v}; my residence is {v}",
            "the town i come from is {v}; i have my flat in {v}; my house is in {v}",
            "Got it, you are from {v}.; {v}, noted! I will remember that.; Thanks for telling me: {v} is your home.",
            "where do i live; where am i from; what is my home town; what's my hometown; which city do i live in; "
            "where do i come from; do you remember where i live; do you know where i live; what city am i from; where is my home; "
            "what is my city; where did i say i live; do you know where i am from; what town do i live in; where was i born; "
            "where did i grow up; where do i stay; where is my house; where is my family; what's my city; what is my hometown; which town do i live in; what city do i live in; what place am i from; which place am i from; where do i live again; where am i from again; tell me where i live; tell me where i am from; and where do i live; and where am i from; so where do i live; do you still know where i live; do you recall where i live; remember where i live; do you know my city; do you know my home town; in which city do i live; in which town do i live; name my city; name my home town; my city is; my home town is; where did i say i am from; where did i move to; what is my birthplace; where do i reside",
            "which town is my home; tell me which place i come from; can you recall where i live; what place did i say i am from",
            "You are from {v}.",
            "You haven't told me where you live yet.",
            "you are from {v}",
        ),
        "zh": kind(
            "我住在{v}; 我来自{v}; 我是{v}人; 我家在{v}; 我的家乡是{v}; 我老家在{v}; 我现在住{v}; 我在{v}长大; 我出生在{v}; 我从{v}来; "
            "我的老家是{v}; 我目前住在{v}; 我们家住在{v}; 我家住{v}; 我住{v}; 我在{v}住; 我在{v}; 我在{v}工作和生活; 我搬到了{v}; 我刚搬到{v}; 我一直住在{v}; 我家就在{v}; 我是从{v}来的; 我来自{v}，你呢; 我的城市是{v}; 我所在的城市是{v}; 我人在{v}; 我老家是{v}; 我的出生地是{v}; 我从小在{v}长大; 我住的城市是{v}; 我是{v}来的",
            "我生活在{v}; 我在{v}安了家; 我的故乡是{v}",
            "好的，你来自{v}，我记住了。; {v}，记住了！; 谢谢你告诉我，你的家在{v}。",
            "我住在哪里; 我住哪; 我来自哪里; 我是哪里人; 我家在哪; 我的家乡是哪里; 我老家在哪里; 你记得我住在哪里吗; 你知道我住哪吗; "
            "我从哪里来; 我住在哪个城市; 我刚才说我住在哪; 我的家乡在哪里; 你知道我是哪里人吗; 我在哪里长大; 我的老家是哪; 我住哪儿; 我住哪里; 我在哪; 我在哪儿住; 我家在哪里; 我家在哪儿; 我是哪儿人; 我来自哪儿; 我来自什么地方; 我住在什么城市; 我住在哪座城市; 我的城市是哪里; 我在哪个城市; 我在哪座城市; 我老家在哪; 我老家是哪里; 我的老家在哪里; 我的故乡在哪; 你还记得我住哪吗; 你记得我是哪里人吗; 你记得我来自哪里吗; 还记得我住哪里吗; 告诉我我住在哪; 那我住哪; 那我是哪里人; 我说过我住哪; 我说我来自哪里; 我搬到哪了; 我出生在哪里; 我的出生地是哪里",
            "我说过我住在什么地方; 你还记得我的家乡吗; 我的家在哪个城市; 说说我是哪儿的人",
            "你来自{v}。",
            "你还没有告诉我你住在哪里。",
            "你来自{v}",
        ),
    },
    "colour": {
        "en": kind(
            "my favourite colour is {v}; my favorite color is {v}; i like the colour {v}; i love {v}, it is my favourite colour; "
            "{v} is my favourite colour; the colour i like best is {v}; my fav color is {v}; i like {v} most of all colours; "
            "{v} is my favorite color; my favourite colour is definitely {v}; for me the best colour is {v}; the best colour is {v}; my colour is {v}; i prefer the colour {v}; i adore the colour {v}; i really like {v} as a colour; my favorite colour is {v}; my favourite color is {v}; fav colour: {v}; colour: {v}; my preferred colour is {v}; i'm a fan of the colour {v}; {v} is the colour i love; {v} is the best colour",
            "of all colours i prefer {v}; no colour is nicer than {v} to me, it's my favourite",
            "A good choice! Your favourite colour is {v}.; {v} is a nice colour, I will remember it.; Noted: your favourite colour is {v}.",
            "what is my favourite colour; what's my favorite color; which colour do i like; what colour do i like best; "
            "do you remember my favourite colour; what is my favorite color; tell me my favourite colour; do you know my favorite color; "
            "what color do i like; which is my favourite colour; my favourite colour is; what was my favourite colour; which colour do i prefer; which colour do i love; what colour do i love; what's my favourite colour; what's my favourite color; which color is my favorite; tell me my favorite color; do you know which colour i like; do you remember the colour i like; and my favourite colour; and what is my favourite colour; my fav color; what is my fav colour; name my favourite colour; my favourite colour; what did i say my favourite colour is; what is the colour i like; remember my favourite colour; which colour was my favourite; what color is my favorite",
            "which colour did i say i like; can you name my favourite colour; what colour do i prefer",
            "Your favourite colour is {v}.",
            "You haven't told me your favourite colour yet.",
            "your favourite colour is {v}",
        ),
        "zh": kind(
            "我最喜欢的颜色是{v}; 我喜欢{v}; 我最喜欢{v}; {v}是我最喜欢的颜色; 我最爱的颜色是{v}; 我喜欢的颜色是{v}; 颜色里我最喜欢{v}; 我特别喜欢{v}; 我比较喜欢{v}; 我更喜欢{v}; 我超喜欢{v}; 我爱{v}; 我最喜欢的是{v}; 我觉得{v}最好看; 我最喜欢{v}这个颜色; 我的最爱颜色是{v}; 我喜欢{v}这种颜色; 最喜欢的颜色：{v}; 我的颜色是{v}",
            "所有颜色里我偏爱{v}; 要说颜色，我最中意{v}",
            "好的，你最喜欢的颜色是{v}。; {v}很好看，我记住了。; 记住了：你最喜欢{v}。",
            "我最喜欢什么颜色; 我喜欢什么颜色; 我最喜欢的颜色是什么; 你记得我喜欢什么颜色吗; 我最爱的颜色是什么; 我喜欢哪种颜色; "
            "你知道我最喜欢的颜色吗; 我说我喜欢什么颜色; 我最喜欢的颜色; 我喜欢的颜色是什么; 我喜欢哪个颜色; 我最喜欢哪个颜色; 我最喜欢哪种颜色; 我最喜欢的颜色是啥; 我最喜欢的是什么颜色; 我最爱什么颜色; 我爱什么颜色; 你还记得我喜欢什么颜色吗; 你知道我喜欢什么颜色吗; 你记得我最喜欢的颜色吗; 告诉我我最喜欢的颜色; 那我喜欢什么颜色; 我喜欢啥颜色; 我刚才说喜欢什么颜色; 我说过喜欢什么颜色",
            "我偏爱哪种颜色; 你还记得我最喜欢哪个颜色吗; 说说我最喜欢的颜色",
            "你最喜欢的颜色是{v}。",
            "你还没有告诉我你最喜欢什么颜色。",
            "你最喜欢的颜色是{v}",
        ),
    },
    "food": {
        "en": kind(
            "my favourite food is {v}; my favorite food is {v}; i love eating {v}; i like to eat {v}; {v} is my favourite food; "
            "the food i like best is {v}; i love to eat {v}; my fav food is {v}; my favourite meal is {v}; my favorite meal is {v}; the best food is {v}; i could eat {v} every day; i like {v} most of all food; i eat {v} every day; i really like eating {v}; i enjoy eating {v}; my favorite dish is {v}; best food ever: {v}; i am a fan of {v} as food; for dinner i love {v}; {v} is the food i love; i prefer to eat {v}; food: {v}",
            "there is no food i enjoy more than {v}; my favourite dish is {v}",
            "Yum! Your favourite food is {v}.; Noted: you like {v} best.; {v} sounds tasty, I will remember it.",
            "what is my favourite food; what's my favorite food; what do i like to eat; which food do i like; "
            "do you remember my favourite food; what food do i like; what is my favorite food; what do i love eating; "
            "do you know my favorite food; what was my favourite food; what's my favourite food; what do i love to eat; which food do i love; what food do i love; what food do i like best; which food do i like best; what is my favourite meal; what's my favorite meal; do you know what i like to eat; do you remember what i like to eat; remember my favourite food; tell me my favourite food; and my favourite food; and what do i like to eat; my favourite food; name my favourite food; what do i eat every day; what did i say i like to eat; which meal do i love; what is my favorite dish",
            "which dish do i like best; can you name my favourite food; what do i enjoy eating",
            "Your favourite food is {v}.",
            "You haven't told me your favourite food yet.",
            "your favourite food is {v}",
        ),
        "zh": kind(
            "我最喜欢吃{v}; 我喜欢吃{v}; 我最喜欢的食物是{v}; 我爱吃{v}; 我最爱吃的是{v}; {v}是我最喜欢的食物; 我最爱吃{v}; 我很喜欢吃{v}; 我超爱吃{v}; 我非常喜欢吃{v}; 我天天吃{v}; 我每天都吃{v}; 我最喜欢的菜是{v}; 我最爱的食物是{v}; 我喜欢的食物是{v}; 我觉得{v}最好吃; 最喜欢的食物：{v}; 我最爱的美食是{v}",
            "吃的里面我最爱{v}; 我特别爱吃{v}",
            "好的，你最喜欢吃{v}。; {v}很好吃，我记住了。; 记住了：你爱吃{v}。",
            "我最喜欢吃什么; 我喜欢吃什么; 我爱吃什么; 我最喜欢的食物是什么; 你记得我喜欢吃什么吗; 你知道我爱吃什么吗; 我最爱吃的是什么; "
            "我最喜欢的食物; 我说我喜欢吃什么; 我喜欢吃啥; 我爱吃啥; 我最喜欢吃啥; 我最爱吃什么; 我最爱的食物是什么; 我喜欢的食物是什么; 我喜欢什么食物; 我最喜欢什么食物; 你知道我喜欢吃什么吗; 你记得我爱吃什么吗; 你还记得我喜欢吃什么吗; 告诉我我喜欢吃什么; 那我喜欢吃什么; 我刚才说喜欢吃什么; 我每天吃什么; 我最喜欢的菜是什么",
            "我偏爱什么食物; 你还记得我最爱吃的东西吗; 说说我最喜欢吃的",
            "你最喜欢吃{v}。",
            "你还没有告诉我你最喜欢吃什么。",
            "你最喜欢吃{v}",
        ),
    },
    "animal": {
        "en": kind(
            "my favourite animal is the {v}; my favorite animal is the {v}; the animal i like best is the {v}; my favourite animal is a {v}; "
            "i like the {v} most of all animals; my favorite animal is a {v}; i love the {v} most; my fav animal is the {v}; the {v} is my favourite animal; the {v} is my favorite animal; the best animal is the {v}; the animal i love is the {v}; i like the {v} best; as animals go i prefer the {v}; i adore the {v}; animal: {v}",
            "of all animals i love the {v} most; no animal is nicer than the {v} to me",
            "A lovely animal! I will remember the {v}.; Noted: your favourite animal is the {v}.",
            "what is my favourite animal; what's my favorite animal; which animal do i like best; do you remember my favourite animal; "
            "what animal do i like; what is my favorite animal; do you know my favourite animal; what's my favourite animal; which animal is my favourite; which animal do i like; which animal do i love; what animal do i love; what animal do i like best; remember my favourite animal; tell me my favourite animal; do you remember which animal i like; and my favourite animal; my favourite animal; name my favourite animal; what was my favourite animal; what did i say my favourite animal is",
            "which animal did i say i love; can you name my favourite animal",
            "Your favourite animal is the {v}.",
            "You haven't told me your favourite animal yet.",
            "your favourite animal is the {v}",
        ),
        "zh": kind(
            "我最喜欢的动物是{v}; {v}是我最喜欢的动物; 动物里我最喜欢{v}; 我最爱的动物是{v}; 我喜欢的动物是{v}; 我最喜欢的小动物是{v}; 我特别喜欢{v}这种动物; 我喜欢{v}这种动物; 我最爱{v}这种动物; 最喜欢的动物：{v}; 我觉得{v}最可爱; 动物中我最爱{v}",
            "所有动物里我最爱{v}; 要说动物，我偏爱{v}",
            "好的，你最喜欢的动物是{v}。; {v}很可爱，我记住了。",
            "我最喜欢什么动物; 我喜欢什么动物; 我最喜欢的动物是什么; 你记得我喜欢什么动物吗; 我最爱的动物是什么; 你知道我最喜欢的动物吗; 我最喜欢哪种动物; 我喜欢哪种动物; 我喜欢哪个动物; 我最喜欢的动物是啥; 我最爱什么动物; 我爱什么动物; 我最喜欢的动物; 你记得我最喜欢的动物吗; 你还记得我喜欢什么动物吗; 你知道我喜欢什么动物吗; 告诉我我最喜欢的动物; 那我喜欢什么动物; 我说过喜欢什么动物",
            "我偏爱哪种动物; 说说我最喜欢的动物",
            "你最喜欢的动物是{v}。",
            "你还没有告诉我你最喜欢什么动物。",
            "你最喜欢的动物是{v}",
        ),
    },
    "number": {
        "en": kind(
            "remember the number {v}; please remember the number {v}; my lucky number is {v}; my favourite number is {v}; "
            "the number is {v}; keep the number {v} in mind; the secret number is {v}; my number is {v}; "
            "i am thinking of the number {v}; remember this number: {v}; remember {v}; memorize the number {v}; the code is {v}; "
            "my favorite number is {v}; note down {v}; keep this number: {v}; please keep the number {v}; the number to remember is {v}; here is the number: {v}; a number for you: {v}; save the number {v}; store the number {v}; can you remember the number {v}; could you remember {v}; my pin is {v}; my room number is {v}; the pin is {v}; i tell you a number: {v}; my favourite number is the {v}; i want you to remember {v}; i want you to remember the number {v}; memorise {v}; try to remember {v}; {v} is my lucky number; {v} is the number; {v} is my favourite number; please memorize {v}; number: {v}; write down {v}; write down the number {v}; remember, {v} is the number; let the number be {v}",
            "don't forget the number {v}; here is a number for you to keep: {v}",
            "I will remember the number {v}.; Got it: {v}.; Noted, the number is {v}.",
            "what is the number; what was the number; which number should you remember; what number did i tell you; what is my number; "
            "what is my lucky number; what is my favourite number; do you remember the number; what's the number; tell me the number; "
            "what number did i give you; what is the secret number; what number was it; what was my number; which number was it; "
            "what is my favorite number; what is the code; what was the code; which number was that; what was that number; what's my number; what's my lucky number; what was my lucky number; which number did i give you; which number did i say; which number did i tell you; what number did i say; what number should you remember; what number did i ask you to remember; which number did i ask you to remember; what number do you remember; do you still know the number; do you still remember the number; do you know the number; do you recall the number; remember the number?; tell me my number; give me the number; give me my number; and the number; and what was the number; so what is the number; now what is the number; number?; the number please; what did i tell you to remember; what did you memorise; what did i ask you to remember; what is my pin; what was the pin; what's my room number; which number is my favourite; what's the secret number; what's the code; name the number; the number is",
            "can you repeat the number; which number did i mention; say the number i gave you",
            "The number is {v}.",
            "You haven't given me a number yet.",
            "your number is {v}",
        ),
        "zh": kind(
            "记住数字{v}; 请记住数字{v}; 我的幸运数字是{v}; 我最喜欢的数字是{v}; 数字是{v}; 记住这个数字：{v}; 请记住{v}; 记住{v}; "
            "我的数字是{v}; 密码是{v}; 帮我记住数字{v}; 我想的数字是{v}; 帮我记一下{v}; 这个数字是{v}; 数字：{v}; 给你一个数字：{v}; 给你个数字{v}; 我给你一个数字：{v}; 请你记住{v}; 请你记住数字{v}; 你要记住{v}; 你记住{v}; 记一下{v}; 记下{v}; 记下数字{v}; 记住数字是{v}; 要记住的数字是{v}; 我的号码是{v}; 我的房间号是{v}; 房间号是{v}; 验证码是{v}; 我的密码是{v}; {v}是我的幸运数字; 我最爱的数字是{v}; 幸运数字是{v}; 能记住{v}吗; 你能记住数字{v}吗; 保存数字{v}; 存一下{v}",
            "别忘了数字{v}; 有个数字请你记下：{v}",
            "好的，我记住了数字{v}。; 记住了：{v}。; 好，数字是{v}。",
            "数字是什么; 数字是多少; 我让你记住的数字是什么; 我的幸运数字是多少; 我说的数字是多少; 那个数字是多少; 你还记得那个数字吗; "
            "我的数字是什么; 我最喜欢的数字是什么; 刚才的数字是多少; 我让你记的数字是多少; 密码是什么; 密码是多少; 我告诉你的数字是什么; 我的幸运数字是什么; 数字呢; 那个数字呢; 是什么数字; 是哪个数字; 哪个数字; 我说的是什么数字; 我说的哪个数字; 我给你的数字是多少; 我给你的数字是什么; 我给了你什么数字; 我告诉你的数字是多少; 我让你记住的数字是多少; 我让你记的是什么; 我让你记住什么; 你记住的数字是多少; 你记住的数字是什么; 你记得那个数字吗; 还记得数字吗; 还记得那个数字吗; 还记得数字是多少吗; 你知道那个数字是多少吗; 说出那个数字; 说一下那个数字; 告诉我那个数字; 告诉我数字; 那个数是多少; 刚刚的数字是多少; 之前的数字是多少; 幸运数字是多少; 我的幸运数字; 我的号码是多少; 房间号是多少; 我的房间号是多少; 验证码是多少; 我的密码是多少; 我最喜欢的数字是多少; 数字是几",
            "请重复那个数字; 我提到的数字是几; 说出我给你的数字",
            "数字是{v}。",
            "你还没有告诉我数字。",
            "你的数字是{v}",
        ),
    },
    "word": {
        "en": kind(
            "remember the word {v}; please remember the word {v}; the secret word is {v}; the password is {v}; the magic word is {v}; "
            "remember this word: {v}; keep the word {v} in mind; the word is {v}; my word is {v}; keep this word: {v}; a word for you: {v}; my password is {v}; the code word is {v}; our code word is {v}; save the word {v}; memorize the word {v}; memorise the word {v}; can you remember the word {v}; here is the word: {v}; the word to remember is {v}; i want you to remember the word {v}; let the secret word be {v}; word: {v}; note the word {v}; write down the word {v}; please keep the word {v}; my secret word is {v}; my favourite word is {v}; remember that the word is {v}",
            "don't forget the word {v}; here is a word for you to keep: {v}",
            "I will remember the word {v}.; Got it, the word is {v}.; Noted: {v}.",
            "what is the word; what was the word; which word should you remember; what word did i tell you; do you remember the word; "
            "what is the secret word; what was the secret word; tell me the word; what word did i give you; what is the password; "
            "what was the magic word; what's the word; which word was it; which word was that; what was that word; which word did i give you; which word did i say; which word did i tell you; what word did i say; what word should you remember; which word did i ask you to remember; do you still remember the word; do you still know the word; do you know the word; do you recall the word; and the word; and what was the word; so what is the word; the word please; give me the word; name the word; what's the secret word; what was the password; what's the password; what is the code word; what was the code word; what is the magic word; what is my word; what was my word; what is my secret word; word?; the word is; what word do you remember; tell me the secret word; tell me the password",
            "can you repeat the word; which word did i mention; say the word i gave you",
            "The word is {v}.",
            "You haven't given me a word yet.",
            "your word is {v}",
        ),
        "zh": kind(
            "记住这个词：{v}; 请记住单词{v}; 请记住这个词：{v}; 暗号是{v}; 口令是{v}; 记住词语{v}; 这个词是{v}; 帮我记住这个词：{v}; 要记住的词是{v}; 词是{v}; 密语是{v}; 我的暗号是{v}; 我们的暗号是{v}; 记住单词{v}; 记住这个单词：{v}; 记一下这个词：{v}; 记下这个词：{v}; 给你一个词：{v}; 我给你一个词：{v}; 请你记住这个词：{v}; 你要记住这个词：{v}; 能记住这个词吗：{v}; 秘密的词是{v}; 关键词是{v}; 我的词是{v}; 我最喜欢的词是{v}",
            "别忘了这个词：{v}; 有个词请你记下：{v}",
            "好的，我记住了：{v}。; 记住了，这个词是{v}。",
            "我让你记住的词是什么; 那个词是什么; 暗号是什么; 口令是什么; 你还记得那个词吗; 刚才的词是什么; 我说的词是什么; 我让你记的词是哪个; 那个词呢; 是什么词; 是哪个词; 哪个词; 词是什么; 我给你的词是什么; 我给了你什么词; 我告诉你的词是什么; 我说的是哪个词; 我说的是什么词; 我让你记住哪个词; 我让你记什么词; 你记住的词是什么; 你记得那个词吗; 还记得那个词吗; 说出那个词; 说一下那个词; 告诉我那个词; 刚刚的词是什么; 之前的词是什么; 我的暗号是什么; 暗号是啥; 口令是啥; 密语是什么; 关键词是什么; 那个单词是什么; 我的词是什么; 那个词是哪个",
            "请重复那个词; 我提到的词是哪个; 说出我给你的词",
            "那个词是{v}。",
            "你还没有告诉我要记住的词。",
            "你的词是{v}",
        ),
    },
    "age": {
        "en": kind(
            "i am {v} years old; i'm {v} years old; my age is {v}; i am {v}; i'm {v}; i turned {v} this year; i just turned {v}; i'm aged {v}; i am {v} years of age; my age: {v}; i have just turned {v}; i became {v} years old; i am {v} yrs old; i'm {v} yo; i have {v} years; i am already {v} years old; i'm only {v} years old; age: {v}; in case you wonder, i am {v} years old; i will soon be older, now i am {v}; i'm {v} now",
            "this year i became {v} years old; on my last birthday i turned {v}",
            "Thanks for telling me: you are {v} years old.; {v} years old, noted!",
            "how old am i; what is my age; do you remember my age; what's my age; do you know how old i am; how old did i say i am; tell me my age; my age; what was my age; how many years old am i; how old am i again; do you still know my age; do you still know how old i am; do you remember how old i am; and how old am i; so how old am i; what is my age again; what did i say my age is; guess how old i am; how many years do i have; what age am i; tell me how old i am; my age is",
            "can you recall my age; what age did i tell you",
            "You are {v} years old.",
            "You haven't told me your age yet.",
            "you are {v} years old",
        ),
        "zh": kind(
            "我今年{v}岁; 我{v}岁; 我{v}岁了; 我的年龄是{v}; 我今年{v}; 我刚满{v}岁; 我已经{v}岁了; 我才{v}岁; 我现在{v}岁; 我年龄{v}岁; 我的年纪是{v}岁; 年龄：{v}; 我马上就要更大了，现在{v}岁; 我快要过生日了，现在{v}岁; 本人{v}岁; 我年方{v}; 我是{v}岁",
            "今年我{v}岁了; 我的岁数是{v}",
            "好的，你今年{v}岁。; {v}岁，我记住了。",
            "我多大; 我几岁; 我今年多大; 我多少岁; 我的年龄是多少; 你记得我几岁吗; 你知道我多大吗; 我今年几岁; 我多大了; 我几岁了; 我今年多少岁; 我今年多大了; 我多少岁了; 我现在几岁; 我现在多大; 我的年龄; 我的年龄是多大; 我的年纪多大; 你还记得我多大吗; 你还记得我几岁吗; 你记得我多大吗; 你知道我几岁吗; 你知道我的年龄吗; 告诉我我几岁; 说说我多大; 那我几岁; 我刚才说我几岁; 我是多少岁",
            "我说过我多大; 你还记得我的年龄吗",
            "你今年{v}岁。",
            "你还没有告诉我你的年龄。",
            "你今年{v}岁",
        ),
    },
    "job": {
        "en": kind(
            "i am a {v}; i'm a {v}; i work as a {v}; my job is {v}; i work as {v}; my profession is {v}; i have a job as a {v}; i am working as a {v}; i am a {v} by trade; my occupation is {v}; i'm employed as a {v}; i work as a {v} in a small firm; i used to study, now i am a {v}; my work is being a {v}; i just became a {v}; i'm a {v} by profession; for a living i am a {v}; i make my living as a {v}; job: {v}",
            "i earn my living as a {v}; by profession i am a {v}",
            "Nice! You work as a {v}.; A {v}, noted. That is important work.",
            "what is my job; what do i do; what do i work as; do you remember my job; what's my job; what is my profession; "
            "do you know what i do for a living; what do i do for a living; what work do i do; what am i by profession; what is my occupation; what's my profession; what's my occupation; what am i working as; which job do i have; what job do i have; what kind of job do i have; do you know my job; do you know my profession; do you remember what i do; do you remember my profession; tell me my job; tell me my profession; and what is my job; and my job; so what is my job; my job is; what did i say i do; what do i do for work; what do i do at work; name my job",
            "which job did i say i have; can you recall my profession",
            "You work as a {v}.",
            "You haven't told me your job yet.",
            "you work as a {v}",
        ),
        "zh": kind(
            "我是一名{v}; 我是{v}; 我的职业是{v}; 我的工作是{v}; 我是个{v}; 我做{v}; 我是一个{v}; 我的职务是{v}; 我从事{v}的工作; 我是做{v}的; 我是一位{v}; 我现在是{v}; 我现在做{v}; 我在做{v}; 我的身份是{v}; 职业：{v}; 我刚当上{v}; 我工作是{v}; 我的本职是{v}",
            "我靠做{v}谋生; 我当{v}",
            "好的，你是{v}。; {v}，记住了，很了不起的工作。",
            "我是做什么的; 我的职业是什么; 我的工作是什么; 我是干什么的; 你记得我的工作吗; 我做什么工作; 你知道我的职业吗; 我是做啥的; 我是干啥的; 我是干嘛的; 我的职业是啥; 我是什么职业; 我的工作是啥; 我从事什么工作; 我从事什么职业; 我干什么工作; 我做的是什么工作; 你记得我的职业吗; 你还记得我的工作吗; 你还记得我做什么工作吗; 你知道我做什么工作吗; 你知道我的工作吗; 你知道我是做什么的吗; 告诉我我的职业; 我的职业; 我的工作; 那我是做什么的; 我的身份是什么; 我说我是做什么的",
            "我说过我做什么工作; 你还记得我的职业吗",
            "你是{v}。",
            "你还没有告诉我你的职业。",
            "你是{v}",
        ),
    },
    "hobby": {
        "en": kind(
            "my hobby is {v}; i like {v}; i enjoy {v}; i love {v}; in my free time i like {v}; my favourite hobby is {v}; {v} is my hobby; "
            "my favourite sport is {v}; i am into {v}; i'm into {v}; i'm fond of {v}; i really enjoy {v}; i really like {v}; my favorite hobby is {v}; my favorite sport is {v}; my passion is {v}; i am passionate about {v}; my pastime is {v}; in my spare time i do {v}; in my spare time i enjoy {v}; at weekends i go {v}; my hobbies are mainly {v}; what i like most is {v}; i am a fan of {v}; hobby: {v}; for fun i do {v}; i relax with {v}",
            "after work i do some {v}; i spend my weekends on {v}",
            "That sounds fun! I will remember that you like {v}.; Noted: you like {v}.",
            "what is my hobby; what do i like; what do i like to do; what do i enjoy; do you remember my hobby; what's my hobby; "
            "what do i do in my free time; what is my favourite hobby; what do i love; what is my favourite sport; what's my favourite hobby; what is my favorite hobby; what is my favorite sport; what's my favourite sport; what are my hobbies; what hobby do i have; which hobby do i have; what do i enjoy doing; what do i like to do in my free time; what do i do for fun; what is my passion; what am i into; what am i fond of; do you know my hobby; do you still know my hobby; do you remember what i like; do you know what i like; tell me my hobby; tell me what i like; and my hobby; and what is my hobby; my hobby is; what did i say i like; what did i say my hobby is; which sport do i like; what is my pastime; name my hobby; how do i spend my free time",
            "which hobby did i mention; can you recall what i like doing",
            "You like {v}.",
            "You haven't told me your hobby yet.",
            "you like {v}",
        ),
        "zh": kind(
            "我的爱好是{v}; 我喜欢{v}; 我爱{v}; 我平时喜欢{v}; 我的兴趣是{v}; 我空闲时喜欢{v}; 我最大的爱好是{v}; 我很喜欢{v}; 我特别爱{v}; 我业余时间喜欢{v}; 我有空就{v}; 我没事就喜欢{v}; 我的兴趣爱好是{v}; 我热爱{v}; 我最喜欢{v}; 我对{v}感兴趣; 爱好：{v}; 周末我喜欢{v}; 闲下来我就{v}; 我的业余爱好是{v}; 我喜欢做的事是{v}",
            "周末我总去{v}; 我对{v}很着迷",
            "听起来很有趣，我记住了，你喜欢{v}。; 好的，你喜欢{v}。",
            "我的爱好是什么; 我喜欢做什么; 我有什么爱好; 你记得我的爱好吗; 我平时喜欢做什么; 我的兴趣是什么; 我喜欢什么; 你知道我的爱好吗; 我的爱好是啥; 我爱做什么; 我爱干什么; 我喜欢干什么; 我喜欢干嘛; 我有什么兴趣; 我有哪些爱好; 我的兴趣爱好是什么; 我的业余爱好是什么; 我空闲时做什么; 我空闲时喜欢做什么; 我周末喜欢做什么; 我对什么感兴趣; 我最喜欢做什么; 我热爱什么; 你还记得我的爱好吗; 你知道我喜欢什么吗; 你知道我喜欢做什么吗; 你记得我喜欢什么吗; 告诉我我的爱好; 我的爱好; 那我的爱好是什么; 我说我喜欢做什么; 我刚才说喜欢什么",
            "我说过我有什么爱好; 你还记得我喜欢做什么吗",
            "你喜欢{v}。",
            "你还没有告诉我你的爱好。",
            "你喜欢{v}",
        ),
    },
    "pet": {
        "en": kind(
            "my dog is called {v}; my cat is called {v}; my dog's name is {v}; my cat's name is {v}; i have a dog named {v}; "
            "i have a cat named {v}; my pet is called {v}; the name of my dog is {v}; my pet's name is {v}; i have a dog called {v}; i have a cat called {v}; i have a pet named {v}; i have a pet called {v}; the name of my cat is {v}; the name of my pet is {v}; my dog is named {v}; my cat is named {v}; i call my dog {v}; i call my cat {v}; i got a puppy named {v}; i got a kitten named {v}; my puppy is called {v}; my kitten is called {v}; our dog is called {v}; our cat's name is {v}; this is my dog {v}; meet my cat {v}; my hamster is called {v}; my rabbit is called {v}; my parrot is called {v}",
            "at home i have a pet, {v}; we named our pet {v}",
            "{v} is a lovely name for a pet!; Say hello to {v} from me!",
            "what is my dog called; what is my cat called; what is my pet called; what is the name of my pet; what's my dog's name; "
            "what is my cat's name; do you remember my pet's name; what's the name of my dog; what is the name of my dog; what is my pet's name; what's my pet's name; what is my dog's name; what's my cat's name; what's the name of my cat; what is the name of my cat; what's the name of my pet; what is my dog's name again; do you remember the name of my dog; do you remember the name of my cat; do you remember my dog's name; do you know my pet's name; do you know my dog's name; do you know the name of my pet; tell me my pet's name; tell me the name of my dog; tell me the name of my cat; and my dog; and my pet; what do i call my dog; what do i call my cat; what did i call my pet; which name has my pet; who is my pet; my pet is called; my dog is called; what did i say my pet is called",
            "how is my pet called; can you recall the name of my pet",
            "Your pet is called {v}.",
            "You haven't told me about a pet yet.",
            "your pet is called {v}",
        ),
        "zh": kind(
            "我的狗叫{v}; 我的猫叫{v}; 我家的狗叫{v}; 我家猫叫{v}; 我的宠物叫{v}; 我有一只狗叫{v}; 我养了一只猫，叫{v}; 我有一只叫{v}的猫; 我有一只叫{v}的狗; 我养了一只狗，叫{v}; 我的宠物名叫{v}; 我家宠物叫{v}; 我的小狗叫{v}; 我的小猫叫{v}; 我家小狗叫{v}; 我家小猫叫{v}; 我的狗名字是{v}; 我的猫名字是{v}; 我的狗的名字是{v}; 我的猫的名字是{v}; 我的宠物是{v}; 我的兔子叫{v}; 我家的猫叫{v}; 我家有只狗叫{v}; 我家有只猫叫{v}; 我有个宠物叫{v}; 这是我的狗{v}",
            "我家宠物的名字是{v}; 我给宠物起名{v}",
            "{v}是个可爱的名字！; 替我向{v}问好！",
            "我的狗叫什么; 我的猫叫什么; 我的宠物叫什么; 我家的狗叫什么名字; 我家猫叫什么; 你记得我的宠物叫什么吗; 我的宠物叫什么名字; 我的狗叫啥; 我的猫叫啥; 我的宠物叫啥; 我的狗叫什么名字; 我的猫叫什么名字; 我家狗叫什么; 我家狗叫啥; 我家的猫叫什么; 我家宠物叫什么; 我家宠物叫什么名字; 我的狗的名字是什么; 我的猫的名字是什么; 我的宠物的名字是什么; 我宠物叫什么; 我的小狗叫什么; 我的小猫叫什么; 你还记得我的宠物叫什么吗; 你还记得我的狗叫什么吗; 你知道我的宠物叫什么吗; 你知道我的狗叫什么吗; 你记得我的狗叫什么吗; 你记得我的猫叫什么吗; 告诉我我的宠物叫什么; 那我的狗叫什么; 我的宠物是谁",
            "我宠物的名字是什么来着; 说说我的宠物叫啥",
            "你的宠物叫{v}。",
            "你还没有告诉我你的宠物的名字。",
            "你的宠物叫{v}",
        ),
    },
    "friend": {
        "en": kind(
            "my best friend is {v}; my friend is called {v}; my best friend's name is {v}; i have a friend named {v}; my friend's name is {v}; "
            "my friend is {v}; my friend is named {v}; i have a friend called {v}; my best friend is called {v}; {v} is my best friend; {v} is my friend; my best buddy is {v}; my closest friend is {v}; my mate is called {v}; my friend's name: {v}",
            "the friend i trust most is {v}; {v} has been my friend for years",
            "{v} sounds nice! I will remember that name.; Good to know about {v}.",
            "who is my best friend; what is my friend called; what is the name of my friend; what is my friend's name; "
            "who is my friend; what is my best friend's name; what's my friend's name; what's my best friend's name; what's the name of my friend; what's the name of my best friend; what is the name of my best friend; do you remember my friend's name; do you remember the name of my friend; do you remember who my friend is; do you know my friend's name; do you know who my best friend is; tell me my friend's name; tell me the name of my friend; name my best friend; and my friend; who is my best friend again; my best friend is; what did i say my friend is called; who is my closest friend",
            "can you recall the name of my friend; how is my friend called",
            "The name is {v}.",
            "You haven't told me that name yet.",
            "your friend is {v}",
        ),
        "zh": kind(
            "我最好的朋友是{v}; 我的朋友叫{v}; 我最好的朋友叫{v}; 我有个朋友叫{v}; 我朋友叫{v}; 我朋友是{v}; 我的朋友是{v}; 我的好朋友叫{v}; 我的好朋友是{v}; 我有一个朋友叫{v}; 我有一个好朋友叫{v}; {v}是我最好的朋友; {v}是我的朋友; {v}是我的好朋友; 我的同学叫{v}; 我的闺蜜叫{v}",
            "我最信任的朋友是{v}; {v}是我多年的朋友",
            "{v}，好名字，我记住了。; 很高兴知道{v}。",
            "我最好的朋友是谁; 我的朋友叫什么; 我朋友的名字是什么; 我最好的朋友叫什么; 我的朋友是谁; 我朋友是谁; 我朋友叫什么; 我朋友叫什么名字; 我的朋友叫什么名字; 我最好的朋友叫什么名字; 我的好朋友是谁; 我的好朋友叫什么; 我最好的朋友叫啥; 我朋友叫啥; 你记得我朋友叫什么吗; 你还记得我朋友叫什么吗; 你还记得我的朋友是谁吗; 你记得我的朋友是谁吗; 你知道我朋友叫什么吗; 你知道我最好的朋友是谁吗; 告诉我我朋友的名字; 那我的朋友叫什么; 我同学叫什么; 我的朋友叫啥名字; 我说我的朋友叫什么",
            "我朋友叫什么来着; 说说我的朋友是谁",
            "名字是{v}。",
            "你还没有告诉我这个名字。",
            "你的朋友是{v}",
        ),
    },
}

KINDS |= belongings.KINDS
COMMON = [name for name in KINDS if name not in belongings.KINDS]


def pick(count: int, rng: random.Random) -> list[str]:
    """Different kinds of fact: the common ones two times out of three, else one of the many belongings."""
    found: list[str] = []
    while len(found) < count:
        name = rng.choice(COMMON if rng.random() < 0.66 else list(belongings.KINDS))
        if name not in found:
            found.append(name)
    return found


EVERYTHING = {
    "en": (
        "what do you know about me; what do you remember about me; tell me what you know about me; who am i and what do i like; "
        "what have i told you; what did i tell you about me; summarise what you know about me"
    ).split("; "),
    "zh": "你知道我什么; 你记得关于我的什么; 说说你对我的了解; 关于我你知道什么; 我告诉过你什么; 你对我了解多少".split(
        "; "
    ),
}
REPEAT = {
    "en": (
        "repeat after me: {v}; repeat: {v}; say: {v}; say {v}; please say {v}; can you say {v}; repeat the words {v}; repeat this: {v}; "
        "say after me: {v}; write: {v}; echo {v}; please repeat: {v}; say the following: {v}; repeat exactly: {v}; type {v}"
    ).split("; "),
    "zh": "跟我说：{v}; 请重复：{v}; 重复：{v}; 说：{v}; 请说：{v}; 跟我念：{v}; 复述：{v}; 照着说：{v}; 请跟我说{v}; 重复一遍：{v}".split(
        "; "
    ),
}
"""Asked to repeat made-up words: a favour to the person, and the shortest lesson in looking things up."""
CORRECT = {
    "en": ["sorry, {s}", "actually, {s}", "no wait, {s}", "i made a mistake, {s}", "correction: {s}", "no, {s}"],
    "zh": ["不对，{s}", "更正一下，{s}", "我说错了，{s}", "其实{s}", "等等，{s}"],
}
