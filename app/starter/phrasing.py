"""How people ask: frames around a term, polite wrappings, casings, punctuation, slips of the finger.

Every list comes twice: what training uses, and what only the evaluation uses (`HELD_OUT_*`), so that the
evaluation asks in words that training never used. Knows nothing of any topic.
"""

from __future__ import annotations

import random
import re

from app.starter.topics import expand
from app.starter.wordings import OCCASIONS, PARTS, SLIPS_ZH, SYNONYMS, TAILS

DEFINE = {
    "en": [
        "what is {t}",
        "what's {t}",
        "what is {t}",
        "what are {t}",
        "what does {t} mean",
        "what is meant by {t}",
        "what is the meaning of {t}",
        "what do you mean by {t}",
        "explain {t}",
        "explain {t} to me",
        "explain what {t} is",
        "explain how {t} works",
        "describe {t}",
        "define {t}",
        "definition of {t}",
        "the definition of {t}",
        "give me a definition of {t}",
        "give me a short explanation of {t}",
        "tell me about {t}",
        "tell me something about {t}",
        "tell me what {t} is",
        "tell me what {t} means",
        "how does {t} work",
        "how do {t} work",
        "how would you explain {t}",
        "how would you describe {t}",
        "what do you know about {t}",
        "do you know what {t} is",
        "do you know {t}",
        "do you know about {t}",
        "have you heard of {t}",
        "what about {t}",
        "and {t}",
        "{t}",
        "{t}",
        "{t} meaning",
        "{t} explained",
        "{t} definition",
        "about {t}",
        "what exactly is {t}",
        "what is {t} exactly",
        "so what is {t}",
        "i don't understand {t}",
        "i do not get {t}",
        "i never understood {t}",
        "i want to learn about {t}",
        "i want to understand {t}",
        "i'd like to learn about {t}",
        "i would like to know about {t}",
        "i am curious about {t}",
        "i keep hearing about {t}",
        "my teacher mentioned {t}",
        "teach me {t}",
        "teach me about {t}",
        "help me understand {t}",
        "can you explain {t}",
        "could you explain what {t} is",
        "can you describe {t}",
        "can you define {t}",
        "can you teach me {t}",
        "would you explain {t} to me",
        "what is the idea of {t}",
        "what is the idea behind {t}",
        "what is the point of {t}",
        "what is {t} good for",
        "what is {t} used for",
        "what is {t} for",
        "what does {t} do",
        "what is the role of {t}",
        "what is the purpose of {t}",
        "why do we need {t}",
        "why is {t} useful",
        "why {t}",
        "why use {t}",
        "when do people talk about {t}, what do they mean",
        "someone said {t}, what is that",
        "what in the world is {t}",
        "is {t} important",
        "let's talk about {t}",
        "talk to me about {t}",
        "{t} in simple terms",
        "{t} for beginners",
        "give me an overview of {t}",
        "introduce {t}",
        "in one sentence, what is {t}",
        "the term {t}, what is it",
        "what is a simple explanation of {t}",
        "i read about {t} but did not understand it",
        "what is that, {t}",
        "what does the word {t} mean",
        "what does the term {t} mean",
        "what do people mean by {t}",
        "what do we mean by {t}",
        "what is {t} all about",
        "what's {t} about",
        "what is the concept of {t}",
        "explain the concept of {t}",
        "explain the idea of {t}",
        "explain {t} to a child",
        "explain {t} to a beginner",
        "explain {t} in simple words",
        "explain {t} like i'm five",
        "please explain {t}",
        "please explain {t} in simple words",
        "can you explain {t} in simple words",
        "can you explain {t} to me",
        "can you tell me about {t}",
        "can you tell me what {t} is",
        "can you tell me more about {t}",
        "could you explain {t}",
        "could you describe {t} briefly",
        "i have heard of {t}, what is it",
        "i would like an explanation of {t}",
        "i need an explanation of {t}",
        "i need help with {t}",
        "i'm learning about {t}",
        "i don't know what {t} is",
        "i don't know what {t} means",
        "i'm not sure what {t} is",
        "how do you explain {t}",
        "how is {t} defined",
        "how can i understand {t}",
        "how should i think of {t}",
        "how exactly does {t} work",
        "what happens in {t}",
        "what is special about {t}",
        "what makes {t} useful",
        "who needs {t}",
        "where is {t} used",
        "when is {t} used",
        "how is {t} used",
        "why is {t} important",
        "why is {t} needed",
        "why would one use {t}",
        "why do people use {t}",
        "what problem does {t} solve",
        "what are the basics of {t}",
        "a short introduction to {t}",
        "quick explanation of {t}",
        "{t}?",
        "{t} please",
        "{t} what is it",
        "{t}, what does it mean",
        "{t} in one sentence",
        "{t} in a nutshell",
        "tell me in simple words what {t} is",
        "give me a quick summary of {t}",
        "summarise {t}",
        "remind me what {t} is",
        "remind me what {t} means",
        "{t} 101",
        "{t}, quick",
        "{t} - what is that",
        "got a minute? {t}, what is it",
        "i have no clue what {t} is",
        "i've no idea what {t} means",
        "{t} is new to me",
        "{t} confuses me",
        "i'm struggling with {t}",
        "i mix up everything about {t}",
        "a word on {t}",
        "a few words about {t}",
        "what's the deal with {t}",
        "what's the story with {t}",
        "what's {t} in a nutshell",
        "what do experts mean by {t}",
        "how would a teacher explain {t}",
        "what should a beginner understand about {t}",
        "refresh my memory on {t}",
        "brief me on {t}",
        "i'd like to understand {t}",
        "i would love to understand {t}",
        "i was asked about {t}",
        "in an interview they asked me about {t}",
        "there was a question on {t} in my exam",
        "everybody talks about {t}, but what is it",
        "the article mentions {t}",
        "the slides mention {t} without explaining it",
        "what kind of thing is {t}",
        "is {t} hard to understand",
        "how come we have {t}",
        "what's the use of {t}",
        "what good is {t}",
        "what is the benefit of {t}",
        "{t}: meaning",
        "{t} - explain",
        "{t}, please explain",
        "{t}, define",
        "{t}, any idea",
        "does {t} ring a bell",
        "is {t} something you know",
        "you know {t}, right",
        "what happens with {t}",
        "what is behind {t}",
        "what's behind the word {t}",
        "say what {t} is",
        "spell out what {t} means",
        "put {t} in simple words",
        "{t} for a ten year old",
        "explain {t} without maths",
        "give me the gist of {t}",
        "the gist of {t}",
        "i want the short version of {t}",
        "what, in short, is {t}",
        "could you tell me what {t} is",
        "can you remind me what {t} is",
        "any chance you can explain {t}",
        "i must explain {t} to my class",
        "how do i explain {t} to my grandmother",
        "my colleague keeps saying {t}",
        "i heard about {t} in a lecture",
        "the textbook chapter on {t} is too hard",
        "we use {t} at work, what is it",
        "{t} wtf",
        "wtf is {t}",
        "the heck is {t}",
    ],
    "zh": [
        "什么是{t}",
        "什么是{t}",
        "{t}是什么",
        "{t}是什么",
        "{t}是什么意思",
        "{t}的意思是什么",
        "{t}是啥",
        "啥是{t}",
        "啥叫{t}",
        "什么叫{t}",
        "何为{t}",
        "解释一下{t}",
        "解释{t}",
        "请解释{t}",
        "请解释一下{t}",
        "请介绍一下{t}",
        "介绍一下{t}",
        "讲讲{t}",
        "讲一下{t}",
        "说说{t}",
        "说一说{t}",
        "聊聊{t}",
        "谈谈{t}",
        "跟我说说{t}",
        "给我讲讲{t}",
        "能给我讲讲{t}吗",
        "你知道{t}吗",
        "你了解{t}吗",
        "你听说过{t}吗",
        "知道{t}是什么吗",
        "{t}",
        "{t}",
        "{t}呢",
        "那{t}呢",
        "{t}的定义",
        "{t}的定义是什么",
        "{t}怎么理解",
        "怎么理解{t}",
        "如何理解{t}",
        "{t}有什么用",
        "{t}的作用是什么",
        "{t}有什么作用",
        "{t}是做什么的",
        "{t}是干什么用的",
        "{t}是用来干什么的",
        "{t}是怎么工作的",
        "{t}的原理是什么",
        "{t}是怎么回事",
        "为什么需要{t}",
        "为什么要用{t}",
        "我不懂{t}",
        "我不太明白{t}",
        "我不理解{t}",
        "我想了解{t}",
        "我想学{t}",
        "我想知道{t}是什么",
        "帮我理解{t}",
        "能解释一下{t}吗",
        "可以解释{t}吗",
        "能不能讲讲{t}",
        "教我{t}",
        "关于{t}",
        "关于{t}你知道什么",
        "简单说说{t}",
        "简单介绍{t}",
        "通俗地讲{t}是什么",
        "用一句话说明{t}",
        "老师提到了{t}，那是什么",
        "别人说的{t}是什么",
        "{t}重要吗",
        "{t}到底是什么",
        "究竟什么是{t}",
        "谈到{t}，人们指的是什么",
        "描述一下{t}",
        "{t}概念",
        "{t}这个概念是什么",
        "{t}这个词是什么意思",
        "{t}是怎样的",
        "{t}是什么东西",
        "{t}是个什么概念",
        "{t}是什么呢",
        "{t}是什么啊",
        "{t}是啥意思",
        "{t}是啥意思啊",
        "{t}是指什么",
        "{t}的含义",
        "{t}的含义是什么",
        "{t}的基本概念",
        "{t}的基本思想是什么",
        "{t}怎么用",
        "{t}怎么工作",
        "{t}如何工作",
        "{t}为什么重要",
        "{t}为什么有用",
        "{t}有什么好处",
        "{t}用在哪里",
        "{t}解决什么问题",
        "{t}干嘛的",
        "给我解释一下{t}",
        "给我介绍一下{t}",
        "给我说说{t}是什么",
        "能不能解释一下{t}",
        "能给我解释{t}吗",
        "你能解释{t}吗",
        "你能说说{t}吗",
        "可以讲讲{t}吗",
        "麻烦解释一下{t}",
        "请说明{t}",
        "请用简单的话解释{t}",
        "用简单的话解释{t}",
        "用通俗的话讲{t}",
        "简单解释一下{t}",
        "简要介绍{t}",
        "一句话解释{t}",
        "我不知道{t}是什么",
        "我不清楚{t}是什么",
        "我听说过{t}，它是什么",
        "我在学{t}",
        "我想弄懂{t}",
        "我想了解一下{t}",
        "想知道什么是{t}",
        "想了解{t}",
        "学习{t}",
        "{t}入门",
        "{t}简介",
        "{t}解释",
        "{t}是什么原理",
        "如何解释{t}",
        "怎么解释{t}",
        "如何定义{t}",
        "为什么{t}很重要",
        "什么时候用{t}",
        "人们为什么用{t}",
        "请问{t}是什么",
        "请问什么是{t}",
        "提醒我一下{t}是什么",
        "{t}是啥来着",
        "我忘了{t}是什么",
        "{t}，快说说",
        "{t}这个我没搞懂",
        "我对{t}一窍不通",
        "我完全不懂{t}",
        "{t}我第一次听说",
        "{t}把我搞晕了",
        "{t}让我很困惑",
        "说两句{t}",
        "简单说两句{t}",
        "关于{t}说几句",
        "{t}是怎么个意思",
        "{t}到底怎么回事",
        "大家说的{t}是啥",
        "专家说的{t}是什么意思",
        "老师会怎么讲{t}",
        "初学者该怎么看{t}",
        "帮我复习一下{t}",
        "带我了解一下{t}",
        "面试问到{t}怎么答",
        "考试考{t}",
        "论文里提到{t}",
        "文章里写到{t}，没看懂",
        "同事老说{t}",
        "上课讲了{t}",
        "书上{t}那章太难了",
        "{t}是个什么样的东西",
        "{t}难懂吗",
        "为什么会有{t}",
        "{t}有啥用",
        "{t}有啥好处",
        "{t}有什么意义呢",
        "{t}：含义",
        "{t}，求解释",
        "{t}，定义",
        "{t}，有印象吗",
        "{t}你懂吧",
        "{t}你知道的吧",
        "{t}背后是什么",
        "用大白话说{t}",
        "把{t}说简单点",
        "给十岁小孩讲{t}",
        "不用公式讲讲{t}",
        "{t}的要点",
        "{t}的大意",
        "简短版的{t}",
        "{t}总的来说是什么",
        "能提醒我{t}是什么吗",
        "能不能简单说下{t}",
        "我要给同学讲{t}",
        "怎么跟奶奶解释{t}",
        "公司里在用{t}，是什么",
        "{t}什么鬼",
        "{t}是什么鬼",
        "有谁懂{t}",
        "{t}了解一下",
        "{t}科普",
        "来点{t}的知识",
        "想弄清{t}的含义",
        "{t}何解",
        "{t}怎么讲",
    ],
}

HELD_OUT_DEFINE = {
    "en": [
        "could you walk me through {t}",
        "i'm confused about {t}, what is it",
        "what should i know about {t}",
        "mind explaining {t} for me",
        "please give me the basics of {t}",
        "what can you tell me about {t}",
        "how would you define {t}",
        "say something about {t}",
    ],
    "zh": [
        "给我科普一下{t}",
        "{t}指的是什么",
        "能说明一下{t}吗",
        "我对{t}有点糊涂，它是什么",
        "{t}该怎么解释",
        "有人问我{t}是什么，我该怎么说",
        "你怎么看{t}，它是什么",
        "告诉我什么是{t}",
    ],
}

WRAP = {
    "en": [
        "can you tell me {q}",
        "could you tell me {q}",
        "could you please tell me {q}",
        "please tell me {q}",
        "please, {q}",
        "tell me {q}",
        "tell me, {q}",
        "hey, {q}",
        "hi, {q}",
        "hi! {q}",
        "hello, {q}",
        "hello! {q}",
        "ok, {q}",
        "okay so {q}",
        "so {q}",
        "well, {q}",
        "um, {q}",
        "and {q}",
        "but {q}",
        "now {q}",
        "next question: {q}",
        "another question: {q}",
        "i have a question: {q}",
        "i have a question, {q}",
        "quick question: {q}",
        "question: {q}",
        "i wonder {q}",
        "i was wondering {q}",
        "i want to know {q}",
        "i would like to know {q}",
        "i'd like to know {q}",
        "i need to know {q}",
        "do you know {q}",
        "do you happen to know {q}",
        "can i ask you something? {q}",
        "may i ask {q}",
        "let me ask you: {q}",
        "{q} please",
        "{q}, please",
        "{q} thanks",
        "{q} thank you",
        "{q} in simple words",
        "{q} in short",
        "{q} briefly",
        "{q} i am a beginner",
        "{q} i'm new to this",
        "{q} i really want to know",
        "{q} just curious",
        "{q} help me",
        "please explain {q}",
        "please explain in simple words {q}",
        "explain to me {q}",
        "explain like i'm five: {q}",
        "sorry, {q}",
        "excuse me, {q}",
        "hey troika, {q}",
        "troika, {q}",
        "my friend asks {q}",
        "my boss wants to know {q}",
        "can you help me? {q}",
        "wait, {q}",
        "by the way, {q}",
        "{q} again",
        "{q} bro",
        "answer me: {q}",
        "i'd love to know {q}",
        "i would love to know {q}",
        "i'm curious, {q}",
        "just wondering, {q}",
        "just a question, {q}",
        "one question: {q}",
        "my question is: {q}",
        "here is my question: {q}",
        "could you help me, {q}",
        "would you please tell me {q}",
        "would you mind telling me {q}",
        "can you explain {q}",
        "could you explain {q}",
        "please answer: {q}",
        "listen, {q}",
        "look, {q}",
        "yo, {q}",
        "dear bot, {q}",
        "good morning, {q}",
        "thanks! {q}",
        "thank you. {q}",
        "great, {q}",
        "alright, {q}",
        "then {q}",
        "also, {q}",
        "tell me in simple words {q}",
        "in simple words, {q}",
        "in short, {q}",
        "seriously, {q}",
        "honestly, {q}",
        "{q} could you explain",
        "{q} can you tell me",
        "{q} i don't know",
        "{q} tell me",
        "{q} in one sentence",
        "{q} for beginners",
        "{q} my friend",
        "{q} asap",
    ],
    "zh": [
        "请问{q}",
        "请问一下，{q}",
        "请问，{q}",
        "你好，{q}",
        "您好，请问{q}",
        "你好，请问{q}",
        "嗨，{q}",
        "那么{q}",
        "那{q}",
        "好的，{q}",
        "嗯，{q}",
        "另外，{q}",
        "还有，{q}",
        "顺便问一下，{q}",
        "我想问{q}",
        "我想问一下，{q}",
        "我想请教一下，{q}",
        "我想知道{q}",
        "我很想知道{q}",
        "我有个问题：{q}",
        "我有一个问题，{q}",
        "问一下{q}",
        "问个问题，{q}",
        "再问一下，{q}",
        "告诉我{q}",
        "请告诉我{q}",
        "能告诉我{q}吗",
        "你能告诉我{q}吗",
        "可以告诉我{q}吗",
        "能不能告诉我{q}",
        "你知道{q}吗",
        "知道{q}吗",
        "{q}，谢谢",
        "{q} 谢谢",
        "{q}，麻烦了",
        "{q}，我是新手",
        "{q}，简单说说",
        "{q}啊",
        "{q}呀",
        "{q}呢",
        "麻烦问下{q}",
        "老师，{q}",
        "Troika，{q}",
        "不好意思，{q}",
        "朋友问我{q}",
        "用简单的话说，{q}",
        "对了，{q}",
        "等等，{q}",
        "帮帮我，{q}",
        "我不明白，{q}",
        "想请教你{q}",
        "我好奇{q}",
        "我很好奇，{q}",
        "有个问题，{q}",
        "我的问题是：{q}",
        "请教一下，{q}",
        "请教，{q}",
        "能解释一下{q}吗",
        "请解释{q}",
        "请回答：{q}",
        "回答我，{q}",
        "谢谢！{q}",
        "早上好，{q}",
        "嘿，{q}",
        "喂，{q}",
        "然后呢，{q}",
        "现在{q}",
        "所以{q}",
        "但是{q}",
        "简单说，{q}",
        "一句话，{q}",
        "{q}，请问",
        "{q}，告诉我",
        "{q}，我不懂",
        "{q}，求解",
        "{q}，帮忙解释下",
        "{q}，好吗",
        "{q}哦",
        "{q}嘛",
        "想问问{q}",
        "想知道{q}",
        "我想了解{q}",
    ],
}

HELD_OUT_WRAP = {
    "en": [
        "could you let me know {q}",
        "i'm trying to find out {q}",
        "one more thing: {q}",
        "good day, {q}",
        "{q} if you don't mind",
        "here is what i want to ask: {q}",
    ],
    "zh": [
        "麻烦你告诉我{q}",
        "有个事想问你，{q}",
        "我一直想弄清楚{q}",
        "打扰一下，{q}",
        "{q}，拜托了",
        "请你说说{q}",
    ],
}

# What people write for what they mean; applied now and then, to one place of a question.
_CASUAL = [
    ("what is", ("what's", "whats", "what s", "wat is", "wats", "wht is")),
    ("what are", ("whatre", "wat are")),
    ("how do i", ("how to", "how can i", "how do you", "how would i", "how should i", "how does one")),
    ("how can i", ("how to", "how do i", "how could i", "how do we")),
    ("can you", ("could you", "can u", "would you", "can ya", "are you able to")),
    ("do you", ("do u", "d you", "do ya")),
    ("are you", ("are u", "r u")),
    ("who are", ("who r",)),
    ("you", ("u", "ya")),
    ("your", ("ur", "you're")),
    ("please", ("pls", "plz", "kindly")),
    ("i am", ("i'm", "im")),
    ("i'm", ("im", "i am")),
    ("don't", ("dont", "do not")),
    ("doesn't", ("doesnt", "does not")),
    ("does not", ("doesn't", "doesnt")),
    ("because", ("cause", "bc")),
    ("tell me about", ("tell me abt", "talk about")),
    ("and", ("&", "n")),
    ("color", ("colour",)),
    ("colour", ("color",)),
    ("difference between", ("diff between", "difference of")),
    ("the ", ("", "teh ")),
    ("a ", ("",)),
]
_FINDERS = {
    language: [
        (re.compile(rf"(?<!\w)(?:{old})(?!\w)" if language == "en" else old, re.IGNORECASE), new) for old, new in pairs
    ]
    for language, pairs in SYNONYMS.items()
}
_NEIGHBOURS = {
    "a": "sq", "b": "vn", "c": "xv", "d": "sf", "e": "wr", "f": "dg", "g": "fh", "h": "gj", "i": "uo",
    "j": "hk", "k": "jl", "l": "k", "m": "n", "n": "bm", "o": "ip", "p": "o", "q": "w", "r": "et",
    "s": "ad", "t": "ry", "u": "yi", "v": "cb", "w": "qe", "x": "zc", "y": "tu", "z": "x",
}  # fmt: skip
_ASKS_EN = re.compile(
    r"^(what|who|whom|whose|when|where|which|why|how|is|are|am|was|were|do|does|did|can|could|will|would|"
    r"should|may|have|has|u|wat|wht|ok so)\b|what's|whats|can you|could you|do you",
    re.IGNORECASE,
)
_ASKS_ZH = re.compile(
    r"吗|什么|怎么|为何|为什么|多少|哪|谁|几|呢|如何|是不是|能不能|可不可以|有没有|啥|何为|多大|多久|多快"
)
_WORD = re.compile(r"[A-Za-z]{4,}")


def typo(text: str, rng: random.Random) -> str:
    """One slip in one word of at least four letters; the text itself where there is none."""
    words = list(_WORD.finditer(text))
    if not words:
        return text
    word = rng.choice(words)
    at = rng.randrange(word.start() + 1, word.end())
    match rng.randrange(4):
        case 0:  # one letter missing
            return text[:at] + text[at + 1 :]
        case 1:  # one letter twice
            return text[:at] + text[at] + text[at:]
        case 2 if at + 1 < word.end():  # two letters changed places
            return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
        case _:  # the key beside it
            return text[:at] + rng.choice(_NEIGHBOURS.get(text[at].lower(), text[at])) + text[at + 1 :]


def typo_zh(text: str, rng: random.Random) -> str:
    """One slip in Chinese text: a character that sounds alike, one missing or two that changed places."""
    alike = [i for i, char in enumerate(text) if char in SLIPS_ZH]
    if alike and rng.random() < 0.7:
        at = rng.choice(alike)
        return text[:at] + rng.choice(SLIPS_ZH[text[at]]) + text[at + 1 :]
    if len(text) < 6:
        return text
    at = rng.randrange(1, len(text) - 1)
    return text[:at] + text[at + 1 :] if rng.random() < 0.5 else text[:at] + text[at + 1] + text[at] + text[at + 2 :]


def casual(text: str, rng: random.Random) -> str:
    """One common short form, where the text has a place for it."""
    lower = text.lower()
    fits = [(old, new) for old, new in _CASUAL if re.search(rf"(?<!\w){re.escape(old)}(?!\w)", lower)]
    if not fits:
        return text
    old, new = rng.choice(fits)
    return re.sub(rf"(?<!\w){re.escape(old)}(?!\w)", rng.choice(new), text, count=1, flags=re.IGNORECASE)


def synonyms(text: str, language: str, rng: random.Random, most: int = 2) -> str:
    """The same question in one to `most` other words, as far as it holds words with synonyms."""
    lower = text.lower()
    fits = [(old, new) for old, new in _FINDERS[language] if old.search(lower)]
    for old, new in rng.sample(fits, min(len(fits), rng.randint(1, most))):
        text = old.sub(rng.choice(new), text, count=1)
    return text


def _part(language: str, name: str, rng: random.Random) -> str:
    return rng.choice(PARTS[language][name])


def wrap(question: str, language: str, rng: random.Random, held_out: bool = False) -> str:
    """A polite or casual wrapping around a question."""
    if not held_out and rng.random() < 0.3:
        return expand(rng.choice(OCCASIONS[language]), rng).replace("{q}", question)
    if not held_out and rng.random() < 0.35:
        return f"{_part(language, 'open', rng)}{question}{_part(language, 'close', rng) if rng.random() < 0.3 else ''}"
    return rng.choice((HELD_OUT_WRAP if held_out else WRAP)[language]).replace("{q}", question)


def frame(term: str, language: str, rng: random.Random, held_out: bool = False) -> str:
    """A question after a term: one of the written frames, or one put together from parts."""
    if held_out or rng.random() < 0.55:
        return rng.choice((HELD_OUT_DEFINE if held_out else DEFINE)[language]).replace("{t}", term)
    space = " " if language == "en" else ""
    head, tail = _part(language, "open", rng), _part(language, "close", rng)
    if rng.random() < 0.35:
        asked = f"{_part(language, 'need', rng)}{space}{term}{tail}"
    else:
        asked = f"{_part(language, 'ask', rng)}{_part(language, 'verb', rng)}{space}{term}{tail}"
    asked = head + asked
    return asked if asked not in _held_out_of(term, language) else term


def _held_out_of(term: str, language: str) -> list[str]:
    return [pattern.replace("{t}", term) for pattern in HELD_OUT_DEFINE[language]]


def _punctuate(text: str, language: str, rng: random.Random) -> str:
    if text[-1] in ".!?。！？~:)":
        return text
    if language == "zh":
        marks = ["？", "？", "?", "", ""] if _ASKS_ZH.search(text) else ["。", "！", "", "", "."]
    else:
        marks = ["?", "?", "?", "", "", " ?", "??"] if _ASKS_EN.search(text) else [".", ".", "", "", "!"]
    return text + rng.choice(marks)


def style(text: str, language: str, rng: random.Random, rough: float = 1.0) -> str:
    """Casing, punctuation and slips, as people type. `rough` scales how often things go wrong."""
    text = text.strip()
    if language == "en":
        if rng.random() < 0.15 * rough:
            text = casual(text, rng)
        for _ in range(2):
            if rng.random() < 0.08 * rough:
                text = typo(text, rng)
        if rng.random() < 0.04 * rough:
            text = text.replace("'", "")
        text = text + rng.choice(TAILS) if rng.random() < 0.03 * rough else _punctuate(text, language, rng)
        luck = rng.random()
        if luck < 0.50:
            text = re.sub(r"\bi\b", "I", text[:1].upper() + text[1:])
        elif luck < 0.85:
            text = text.lower()
        elif luck < 0.90:
            text = text.upper()
        elif luck < 0.92:
            text = text.title()
        return text
    if rng.random() < 0.04 * rough:
        text = typo(text, rng)
    if rng.random() < 0.05 * rough:
        text = typo_zh(text, rng)
    text = text + rng.choice(TAILS) if rng.random() < 0.03 * rough else _punctuate(text, language, rng)
    luck = rng.random()
    if luck < 0.10:
        text = text.lower()
    elif luck < 0.14:
        text = re.sub(r"(?<=[一-鿿])(?=[A-Za-z0-9])|(?<=[A-Za-z0-9])(?=[一-鿿])", " ", text)
    return text
