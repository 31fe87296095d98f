"""Parts of questions, words that stand for one another and slips: what `phrasing` varies questions with."""

# ruff: noqa: E501, SIM905 - the wordings are data: a list on a line of its own reads better than one word per line

from __future__ import annotations

# Parts from which further frames and wrappings are put together: far more than anyone would write one by one.
PARTS: dict[str, dict[str, list[str]]] = {
    "en": {
        "open": (
            "|||||||hi, |hello, |hey, |hey there, |ok, |okay, |so, |well, |right, |alright, |sorry, |hmm, |thanks, |yes, |no, |oh, |"
            "ah, |um, |listen, |btw, |fyi, |actually, |also, |and |but |then |now |next: |first, |question: |last question: |"
            "simple question: |stupid question: |dumb question maybe: |hope you can help, |i'm a student, |i'm a beginner, |"
            "i am new to this, |for my homework: |for school: |for my exam: |help! |serious question: |troika, |dear troika, |bot, "
        ).split("|"),
        "ask": (
            "can you |could you |would you |will you |can you please |could you please |please |pls |kindly |i want you to |"
            "i'd like you to |i need you to |would you be so kind and |are you able to |is it possible to |can somebody |"
            "are you willing to |try to |let's see if you can |i ask you to |you must |can u |maybe you can |"
        ).split("|"),
        "verb": (
            "explain|describe|define|introduce|clarify|present|outline|summarise|sum up|explain to me|tell me about|talk about|"
            "teach me about|teach me|tell me what you know about|tell me something about|tell me more about|help me with|"
            "make me understand|show me|give me a summary of|give me an idea of|give me information on|give me an introduction to|"
            "give a definition of|give an explanation of|explain the meaning of|explain the basics of|explain the term|"
            "shed some light on|enlighten me about|write something about|write a sentence about|tell us about|chat about"
        ).split("|"),
        "need": (
            "i want to know about|i want to learn|i want an explanation of|i'm trying to understand|i try to understand|"
            "i have a question about|i have questions about|i have no idea about|i know nothing about|i'm interested in|"
            "i am reading about|i am studying|i have to learn|i have an exam on|i must write about|i heard something about|"
            "i saw the word|i came across|i can't understand|i have trouble with|i forgot what is|i always forget about|"
            "someone told me about|my friend talks about|my book mentions|our professor talked about|there is something called|"
            "i'd love to hear about|i need information about|i need to understand|i'm looking for a definition of|"
            "let's discuss|let us talk about|today i want to learn about|new topic:|topic:|subject:|next topic:|keyword:"
        ).split("|"),
        "close": (
            "|||||||| please| for me| to me| briefly| shortly| in short| simply| quickly| in a few words| in plain english|"
            " in easy words| in simple terms| for a beginner| for dummies| as if i were a child| once more| again| a bit| in detail|"
            " if you can| if possible|, please|, thanks|, thank you|, can you help|, i am curious|, what is it|, what is that|"
            ", what does it mean|, what's that| now| today| right now| dear| buddy| :)| thx| ok| lol| i beg you|, i don't get it|"
            ", what do you know| or not| or so| and why"
        ).split("|"),
    },
    "zh": {
        "open": (
            "||||||||你好，|您好，|嗨，|嘿，|请问|请问，|那个，|嗯，|好，|好的，|那|那么|所以|对了，|还有|另外，|接下来，|现在，|首先，|其实|"
            "不好意思，|打扰了，|问一下，|我想问，|想问下|小白提问：|新手提问：|我是学生，|我是初学者，|作业题：|考试要考，|最后一个问题，|"
            "简单问题：|帮个忙，|Troika，|机器人，|谢谢，|老师好，|同学问我，"
        ).split("|"),
        "ask": "||||请|请你|麻烦你|麻烦|能不能|能否|可以|可否|你能|你可以|你会|能|帮我|帮忙|给我|我想让你|我要你|劳驾|希望你|试着|来".split(
            "|"
        ),
        "verb": (
            "解释|解释一下|解释下|解释解释|说明|说明一下|介绍|介绍一下|介绍下|讲|讲讲|讲一讲|讲一下|讲解|讲解一下|讲下|说说|说一下|说下|"
            "描述|描述一下|谈谈|聊一下|总结|总结一下|概括|概括一下|定义|定义一下|阐述一下|普及一下|简单讲讲|详细说说|展开讲讲|简述|回答我什么是|告诉我什么叫"
        ).split("|"),
        "need": (
            "我想学习|我想知道|我想明白|我要了解|我想听听|我需要了解|我正在学|我在看|我在研究|我看到一个词叫|我看不懂|我搞不懂|我搞不清|"
            "我不会|我忘了什么是|我总是忘记|我一直不懂|我对这个感兴趣：|我有个关于这个的问题：|没听过|第一次听说|书上写的|同学说的|大家都在说|"
            "想弄明白|想搞懂|想听你说|咱们聊聊|今天学|今天想聊|新话题：|话题：|主题：|关键词：|换个话题，"
        ).split("|"),
        "close": (
            "||||||||吧|呗|吗|好吗|行吗|可以吗|，谢谢|，谢谢你|，多谢|，好不好|，简单点|，简短一点|，通俗一点|，越简单越好|，用大白话|，用简单的话|，一句话就行|"
            "，我是新手|，我没听懂|，是什么|，是什么意思|，是啥|，指什么|，有什么用|，怎么回事|，到底是什么|的意思|的知识|的内容|的概念|这个东西|这个词|这个概念|"
            "呢|啊|呀|哈|哦|，急|，在线等"
        ).split("|"),
    },
}

# Words that may stand for one another in a question without changing what is asked.
SYNONYMS: dict[str, list[tuple[str, tuple[str, ...]]]] = {
    "en": [
        (r"how (?:do|can|could|should) i", ("how do we", "how does one", "how might i", "in what way can i", "what must i do to", "what do i do to", "what is the way to", "what is the best way to", "is there a way to", "i want to know how to", "show me how to", "tell me how to", "how am i supposed to", "any way to", "i need to", "i want to", "i'd like to", "steps to", "explain how to", "what should i do to", "which way do i")),
        (r"how do you", ("how do you manage to", "in what way do you", "by what means do you", "how can you")),
        (r"(?:what is|what's) the difference between", ("how different are", "what distinguishes", "what are the differences between", "tell me the difference between", "explain the difference between", "difference of", "what separates", "how do i tell apart", "compare")),
        (r"what (?:is|are)", ("what exactly is", "what would be", "what do you call", "tell me", "say what is", "what was")),
        (r"why", ("for what reason", "how come", "why exactly", "what is the reason that", "why on earth", "why actually", "tell me why")),
        (r"where", ("in which place", "where exactly", "at what place")),
        (r"when", ("at what time", "when exactly", "in which case", "at which point")),
        (r"which", ("what", "what kind of", "which exact")),
        (r"can i", ("may i", "could i", "is it possible to", "am i able to", "is there a way to", "am i allowed to", "do you let me", "does it let me")),
        (r"can you", ("do you know how to", "will you", "are you capable to", "is it possible for you to", "could you maybe")),
        (r"is there", ("do you have", "does it have", "is there any", "does there exist", "have you got", "do we have")),
        (r"are there", ("do you have", "are there any", "do we have", "does it offer")),
        (r"do i need", ("must i have", "do i have to have", "is it necessary to have", "do i require", "should i have")),
        (r"neural networks?", ("neural net", "network", "net", "nn", "neural nets")),
        (r"explain", ("clarify", "describe", "make clear", "go over", "help me see")),
        (r"(?:reply|answer)", ("response", "answer", "reply", "output", "result")),
        (r"(?:replies|answers)", ("responses", "answers", "replies", "outputs")),
        (r"message", ("text", "prompt", "msg", "question", "line")),
        (r"request", ("call", "query", "api request", "http request")),
        (r"show", ("display", "give", "print", "list")),
        (r"use", ("work with", "make use of", "utilise", "try", "employ", "apply")),
        (r"start", ("begin", "launch", "run", "boot", "fire up", "kick off", "turn on", "initiate")),
        (r"stop", ("halt", "end", "terminate", "cancel", "quit", "turn off", "finish")),
        (r"change", ("modify", "alter", "adjust", "edit", "switch", "set", "configure", "update")),
        (r"(?:see|view)", ("look at", "view", "check", "find", "inspect", "watch", "display")),
        (r"get", ("obtain", "receive", "fetch", "retrieve", "have", "find")),
        (r"send", ("submit", "post", "pass", "transmit", "give")),
        (r"(?:delete|erase)", ("remove", "erase", "clear", "drop", "wipe out", "get rid of", "discard", "delete")),
        (r"conversation", ("chat", "dialogue", "discussion", "talk", "thread", "session")),
        (r"make", ("create", "build", "produce", "construct")),
        (r"big", ("large", "huge", "enormous", "giant")),
        (r"bigger", ("larger", "greater", "more powerful")),
        (r"large", ("big", "huge", "massive", "giant")),
        (r"small", ("little", "tiny", "mini", "compact")),
        (r"fast", ("quick", "rapid", "speedy")),
        (r"good", ("useful", "great", "decent")),
        (r"bad", ("harmful", "poor", "not good", "terrible")),
        (r"important", ("essential", "crucial", "relevant", "key", "significant")),
        (r"problem", ("issue", "trouble", "difficulty")),
        (r"need", ("require", "must have", "want")),
        (r"people", ("humans", "persons", "folks", "we")),
        (r"humans?", ("person", "people", "human being")),
        (r"computer", ("machine", "pc", "laptop", "device")),
        (r"server", ("service", "backend", "app", "system")),
        (r"service", ("server", "system", "app", "application", "tool")),
        (r"endpoint", ("route", "url", "api", "path", "address")),
        (r"settings?", ("option", "variable", "configuration", "parameter")),
        (r"(?:picture|image|photo)s?", ("photo", "image", "picture", "images", "pictures")),
        (r"understand", ("grasp", "get", "comprehend", "follow")),
        (r"remember", ("recall", "keep in mind", "still know", "not forget")),
        (r"happens", ("occurs", "takes place", "goes on", "is going on")),
        (r"prevent", ("avoid", "stop", "fight", "reduce", "combat", "counter")),
        (r"avoid", ("prevent", "get around", "fight", "escape")),
        (r"choose", ("select", "pick", "decide on", "set", "find")),
        (r"examples?", ("sample", "instance", "case")),
        (r"trained", ("taught", "built", "fitted", "educated")),
        (r"train", ("teach", "fit", "educate")),
        (r"learn", ("study", "find out", "pick up", "get to know")),
        (r"works?", ("function", "operate", "run", "go")),
        (r"tell me", ("let me hear", "say", "inform me", "give me")),
        (r"models?", ("ai model", "network", "model", "ml model", "models", "ai")),
        (r"ai", ("artificial intelligence", "machine intelligence", "a.i.", "ai technology")),
        (r"robots?", ("machine", "android", "bot")),
        (r"error", ("mistake", "failure", "fault", "problem")),
        (r"also", ("too", "as well")),
        (r"very|really|so", ("very", "really", "quite", "extremely", "pretty", "too")),
        (r"sad", ("unhappy", "down", "miserable", "gloomy")),
        (r"happy", ("glad", "cheerful", "joyful", "delighted")),
        (r"tired", ("sleepy", "exhausted", "drained", "beat")),
        (r"angry", ("mad", "cross", "upset", "furious")),
        (r"stupid|dumb", ("silly", "foolish", "dumb", "stupid", "brainless", "idiotic")),
        (r"great", ("wonderful", "super", "excellent", "brilliant", "awesome")),
        (r"friend", ("mate", "buddy", "pal")),
        (r"animal", ("creature", "beast", "living thing")),
        (r"kind of", ("sort of", "type of")),
        (r"your name", ("ur name", "the name you have", "your own name")),
        (r"made", ("created", "built", "developed", "programmed", "designed")),
        (r"created", ("made", "built", "invented", "developed")),
        (r"many", ("lots of", "a lot of", "so many")),
        (r"works on", ("runs on", "is based on")),
        (r"cost", ("charge", "be priced")),
        (r"biggest", ("largest", "greatest", "hugest")),
        (r"fastest", ("quickest", "speediest")),
    ],
    "zh": [
        ("怎么|如何|怎样", ("怎么", "如何", "怎样", "咋", "怎么才能", "怎么去", "用什么方法", "要怎么", "该怎么", "应该怎么", "怎么样才能", "有什么办法")),
        ("什么是", ("啥是", "何谓", "什么叫", "所谓的", "什么叫做")),
        ("是什么", ("是啥", "是什么呢", "指什么", "是个啥", "是什么东西", "到底是什么", "是指什么")),
        ("什么", ("啥", "什么样的", "哪种", "什么")),
        ("为什么", ("为何", "为啥", "怎么会", "什么原因", "因为什么", "凭什么", "干嘛", "为什么说", "是什么原因")),
        ("有什么区别|的区别|有什么不同", ("有何不同", "的不同", "有什么差别", "的差异", "差在哪里", "哪里不一样", "有啥区别", "怎么区分")),
        ("哪里", ("哪儿", "什么地方", "何处", "哪")),
        ("哪个", ("哪一个", "什么", "哪种")),
        ("哪些", ("什么", "哪几种", "哪几个", "啥")),
        ("多少", ("几", "多少个", "多大")),
        ("可以|能够|能", ("可以", "能够", "能", "可不可以", "能不能", "是否可以", "可否")),
        ("有没有|有", ("有没有", "存在", "有", "具有")),
        ("需要", ("要", "必须有", "得有", "用得着", "需不需要")),
        ("使用", ("用", "运用", "采用", "利用")),
        ("启动", ("开启", "运行", "打开", "开动", "起动", "跑起来")),
        ("停止", ("终止", "结束", "关掉", "停掉", "取消", "中断")),
        ("修改|更改|改", ("修改", "更改", "改", "调整", "变更", "改变", "换")),
        ("查看|看到", ("查看", "看", "看到", "获取", "了解", "检查", "查")),
        ("发送|发", ("发送", "提交", "传", "发出", "发", "传送")),
        ("回复|回答|答复", ("回复", "回答", "答复", "应答", "答案", "输出")),
        ("消息", ("信息", "内容", "文字", "话", "问题")),
        ("请求", ("调用", "请求", "api请求")),
        ("接口", ("端点", "api", "路径", "地址")),
        ("服务器|服务", ("服务", "服务器", "系统", "程序", "应用")),
        ("模型", ("ai模型", "网络", "大模型", "模型")),
        ("神经网络", ("网络", "神经网", "人工神经网络")),
        ("人工智能", ("ai", "人工智能", "智能技术")),
        ("删除", ("清除", "删掉", "去掉", "移除", "清空")),
        ("对话|聊天", ("对话", "聊天", "会话", "谈话", "交谈")),
        ("作用", ("用途", "功能", "用处", "功效")),
        ("好处|优点", ("优点", "好处", "优势", "长处")),
        ("缺点|坏处", ("坏处", "不足", "弊端", "短处")),
        ("重要", ("关键", "要紧", "必要", "有意义")),
        ("图片|图像|照片", ("图片", "图像", "照片", "图")),
        ("电脑|计算机", ("计算机", "电脑", "机器", "主机")),
        ("错误", ("差错", "问题", "故障", "毛病")),
        ("设置|配置", ("设定", "配置", "选项", "设置", "设")),
        ("解释|说明", ("说明", "解释", "讲解", "阐述", "讲清楚")),
        ("防止|避免", ("防止", "避免", "减少", "解决", "对付", "克服")),
        ("选择|选", ("选择", "挑选", "选定", "确定", "选")),
        ("例子", ("样例", "示例", "实例")),
        ("训练", ("训练", "培训", "教")),
        ("学习", ("学", "学会", "学习", "掌握")),
        ("工作", ("运作", "运行", "运转", "干活")),
        ("告诉我", ("跟我说", "和我说", "说给我听", "讲给我听")),
        ("知道", ("了解", "清楚", "晓得", "懂")),
        ("记得", ("记住", "还记得", "没忘")),
        ("你", ("您", "你", "你这个机器人")),
        ("我想", ("我要", "我希望", "我很想", "想")),
        ("难过|伤心", ("难过", "伤心", "难受", "痛苦")),
        ("高兴|开心", ("高兴", "开心", "快乐", "愉快")),
        ("很|非常|太", ("很", "非常", "太", "特别", "真", "好", "十分")),
        ("笨|傻|蠢", ("笨", "傻", "蠢")),
        ("大", ("大", "庞大", "巨大")),
        ("快", ("快", "迅速", "快速")),
        ("人类|人们", ("人类", "人们", "人", "大家")),
        ("最大", ("最大", "体积最大", "个头最大")),
        ("谁", ("什么人", "谁", "哪个人", "哪位")),
        ("制造|开发|创造", ("做", "制作", "开发", "创造", "设计", "制造")),
        ("吗", ("么", "嘛", "不", "吗")),
        ("和|与|跟", ("和", "与", "跟", "同", "以及")),
    ],
}  # fmt: skip
TAILS = ("...", "!!", "!!!", "??", "???", " :)", " :D", " ;)", " 😊", " 😀", "🙂", " 🤔", " 🙏", "👍", " ❤️", " lol", " haha", " ~", "……", "～", " ^^", "😂", " xd")  # fmt: skip
SLIPS_ZH = {
    "的": "得地", "得": "的", "在": "再", "再": "在", "吗": "嘛吧", "那": "哪", "哪": "那", "做": "作", "作": "做", "他": "她", "是": "事",
    "以": "已", "己": "已", "像": "象", "么": "吗", "怎": "咋", "和": "合", "问": "文", "型": "形", "训": "讯", "练": "炼", "度": "渡", "记": "计",
    "计": "记", "分": "份", "部": "步", "步": "部", "层": "曾", "数": "树", "机": "几", "话": "化", "化": "话",
}  # fmt: skip

# Why somebody asks: their words say nothing of what is asked, and the starter has to learn to look past them.
OCCASIONS: dict[str, list[str]] = {
    "en": [
        "my (teacher|sister|brother|uncle|aunt|colleague|neighbour|grandmother|grandfather|roommate|boss|manager|professor|son|daughter|cousin|student|customer|wife|husband) (asks|asked me|wants to know|keeps asking|would like to hear|is curious|insists on knowing): {q}",
        "(i'm|i am) (reading|writing|preparing|studying|watching) (a|some|an interesting) (blog|paper|book|report|lecture|video|article|thesis|chapter|talk), {q}",
        "(at|for) (work|school|university|home|college|my company|the office|a workshop|a conference) (we|people|they) (discussed|wondered|argued|asked|need to know): {q}",
        "(before|while|after) (lunch|breakfast|dinner|the meeting|my class|the train leaves|i go home|we start|the weekend) (a|one|just a) (little|small|short|tiny|last) question: {q}",
        "(got|have you got|do you have) (a|one|half a) (sec|second|minute|moment)(?|,) {q}",
        "(sorry|forgive me|excuse me) (if this|in case this) (is|sounds) (silly|obvious|stupid|trivial|strange|basic), (but |){q}",
        "(it's|this is) (been a while|late|my first day|urgent|just for fun|important|for a quiz|for a bet), {q}",
        "(yesterday|today|this morning|last week|on monday|recently) (someone|a friend|a stranger|the professor|a guy at work|my doctor|a journalist) (asked|said|wondered|mentioned something), {q}",
        "(i|we) (can't|cannot|could not|didn't) (find|remember|figure out|recall|guess|work out) (this|the answer|it): {q}",
        "(i'm|i am) (an engineer|a teacher|a nurse|a pupil|a writer|a lawyer|a pensioner|a parent|a programmer|a designer|a manager|from spain|from india|twelve years old), {q}",
        "{q} (i'd|i would) (be glad|be happy|be grateful|love) (to know|to hear it|for an answer|for a hint)",
        "{q} (it's|that's) (for|about) (my homework|a presentation|an exam|a friend|my job|a course|a school project|my blog)",
        "{q} (no|not too many|few|easy) (details|formulas|long words|words) (please|needed|is fine|will do)",
        "{q} (nobody|no one|my book does not|google did not|my friend could not) (tells me|explained it|help|say)",
        "(suppose|imagine|let's say) (i'm|i am) (five|new|a child|a customer|a beginner|in a hurry): {q}",
        "(great|cool|nice|fine|lovely|wow|interesting), (then|and now|next|one thing|now tell me)(,|:) {q}",
        "(be honest|quick|short answer|in your own words|simply put|once and for all|step by step|if you know): {q}",
        "(i|we) (always|often|sometimes|never) (wondered|asked myself|forget|mix this up|struggle with this): {q}",
    ],
    "zh": [
        "我(老师|姐姐|弟弟|叔叔|阿姨|同事|邻居|奶奶|爷爷|室友|老板|经理|教授|儿子|女儿|同学|学生|客户|老婆|老公)(问|想知道|一直问|让我问|很好奇)(：|，){q}",
        "我(在|正在)(看|写|准备|研究|读)(一篇|一本|一个|几篇)(博客|论文|书|报告|课程|视频|文章|讲座)，{q}",
        "(公司|学校|大学|家里|办公室|会上|课上)(我们|大家|他们)(讨论|争论|好奇|问到|聊到)(：|，){q}",
        "(吃饭前|开会前|上课前|下班前|回家前|睡觉前|出门前)(再|)问(一个|个)(小|短|简单的|最后的|)问题(：|，){q}",
        "(有空|有时间|方便|忙)吗(？|，){q}",
        "(问题|可能)(有点|比较|很)(傻|简单|基础|奇怪|幼稚)，{q}",
        "(昨天|今天|今早|上周|刚才|前几天)(有人|朋友|老师|同事|医生|记者|网友)(问我|说到|提到|聊起)(这个|)，{q}",
        "我(想不起来|没找到答案|猜不出|弄不明白|查不到|一直没懂)(：|，){q}",
        "我是(工程师|老师|护士|小学生|作家|律师|退休的人|家长|程序员|设计师|经理|外国人|文科生)，{q}",
        "{q}，(很想知道|告诉我就太好了|求个答案|给点提示|十分好奇)",
        "{q}，(作业|考试|演讲|工作|朋友|课程|博客|比赛)(要用|用得到|里有)",
        "{q}，(别太长|不要公式|几个字就好|别太专业|越短越好|说慢点)",
        "{q}，(没人告诉我|书上没写|百度没查到|朋友也不懂)",
        "(假设|就当)我(五岁|是新人|是小孩|是客户|很急|什么都不懂)(：|，){q}",
        "(太好了|不错|有意思|好极了|哇|行)，(那|接着|下一个|现在|再说说)(：|，){q}",
        "(老实说|快|简短回答|用你的话|直说|一步一步|如果你知道)(：|，){q}",
        "我(总是|经常|有时|从来)(好奇|问自己|忘记|弄混|搞不清)(：|，){q}",
    ],
}
