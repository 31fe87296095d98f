"""Everyday facts that follow a pattern: capitals, sums, counting, the calendar, opposites, colours, animals, planets, words.

Each maker returns an `Exchange`; with `held_out` it asks in phrasings that training never uses.
"""

# ruff: noqa: E501, SIM905 - the sentences are data: a list on a line of its own reads better than one word per line

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

from app.starter.topics import Exchange, Required

CAPITALS = """
France,Paris,法国,巴黎;Germany,Berlin,德国,柏林;Italy,Rome,意大利,罗马;Spain,Madrid,西班牙,马德里;Portugal,Lisbon,葡萄牙,里斯本;England,London,英国,伦敦;
China,Beijing,中国,北京;Japan,Tokyo,日本,东京;South Korea,Seoul,韩国,首尔;North Korea,Pyongyang,朝鲜,平壤;India,New Delhi,印度,新德里;Russia,Moscow,俄罗斯,莫斯科;
Austria,Vienna,奥地利,维也纳;Belgium,Brussels,比利时,布鲁塞尔;the Netherlands,Amsterdam,荷兰,阿姆斯特丹;Denmark,Copenhagen,丹麦,哥本哈根;Sweden,Stockholm,瑞典,斯德哥尔摩;
Norway,Oslo,挪威,奥斯陆;Finland,Helsinki,芬兰,赫尔辛基;Iceland,Reykjavik,冰岛,雷克雅未克;Ireland,Dublin,爱尔兰,都柏林;Poland,Warsaw,波兰,华沙;Hungary,Budapest,匈牙利,布达佩斯;
Greece,Athens,希腊,雅典;Turkey,Ankara,土耳其,安卡拉;Egypt,Cairo,埃及,开罗;Kenya,Nairobi,肯尼亚,内罗毕;Morocco,Rabat,摩洛哥,拉巴特;Nigeria,Abuja,尼日利亚,阿布贾;
Ethiopia,Addis Ababa,埃塞俄比亚,亚的斯亚贝巴;Ghana,Accra,加纳,阿克拉;Canada,Ottawa,加拿大,渥太华;Mexico,Mexico City,墨西哥,墨西哥城;Brazil,Brasília,巴西,巴西利亚;
Argentina,Buenos Aires,阿根廷,布宜诺斯艾利斯;Chile,Santiago,智利,圣地亚哥;Peru,Lima,秘鲁,利马;Colombia,Bogotá,哥伦比亚,波哥大;Venezuela,Caracas,委内瑞拉,加拉加斯;
Cuba,Havana,古巴,哈瓦那;Australia,Canberra,澳大利亚,堪培拉;New Zealand,Wellington,新西兰,惠灵顿;Thailand,Bangkok,泰国,曼谷;Vietnam,Hanoi,越南,河内;
Indonesia,Jakarta,印度尼西亚,雅加达;Malaysia,Kuala Lumpur,马来西亚,吉隆坡;the Philippines,Manila,菲律宾,马尼拉;Pakistan,Islamabad,巴基斯坦,伊斯兰堡;Iran,Tehran,伊朗,德黑兰;
Iraq,Baghdad,伊拉克,巴格达;Saudi Arabia,Riyadh,沙特阿拉伯,利雅得;Ukraine,Kyiv,乌克兰,基辅;the Czech Republic,Prague,捷克,布拉格;Romania,Bucharest,罗马尼亚,布加勒斯特;
Bulgaria,Sofia,保加利亚,索非亚;Croatia,Zagreb,克罗地亚,萨格勒布;Serbia,Belgrade,塞尔维亚,贝尔格莱德;Mongolia,Ulaanbaatar,蒙古,乌兰巴托;Nepal,Kathmandu,尼泊尔,加德满都;
the United States,Washington,美国,华盛顿;Singapore,Singapore,新加坡,新加坡;Luxembourg,Luxembourg,卢森堡,卢森堡;Bangladesh,Dhaka,孟加拉国,达卡;Afghanistan,Kabul,阿富汗,喀布尔;
Syria,Damascus,叙利亚,大马士革;Jordan,Amman,约旦,安曼;Lebanon,Beirut,黎巴嫩,贝鲁特;Algeria,Algiers,阿尔及利亚,阿尔及尔;Tunisia,Tunis,突尼斯,突尼斯;Uruguay,Montevideo,乌拉圭,蒙得维的亚;
Ecuador,Quito,厄瓜多尔,基多;Estonia,Tallinn,爱沙尼亚,塔林;Latvia,Riga,拉脱维亚,里加;Lithuania,Vilnius,立陶宛,维尔纽斯;Slovakia,Bratislava,斯洛伐克,布拉迪斯拉发;Slovenia,Ljubljana,斯洛文尼亚,卢布尔雅那
"""
COUNTRY_ALIASES = {"England": ("the UK", "Great Britain", "the United Kingdom", "England"), "the United States": ("the USA", "America", "the US", "the United States")}  # fmt: skip

OPPOSITES = """
hot,cold,热,冷;big,small,大,小;tall,short,高,矮;long,short,长,短;fast,slow,快,慢;old,young,老,年轻;new,old,新,旧;good,bad,好,坏;happy,sad,快乐,悲伤;light,dark,亮,暗;heavy,light,重,轻;
rich,poor,富,穷;full,empty,满,空;open,closed,开,关;early,late,早,晚;easy,difficult,容易,困难;hard,soft,硬,软;wet,dry,湿,干;clean,dirty,干净,脏;loud,quiet,吵闹,安静;strong,weak,强,弱;
thick,thin,厚,薄;wide,narrow,宽,窄;deep,shallow,深,浅;near,far,近,远;up,down,上,下;left,right,左,右;in,out,里,外;day,night,白天,黑夜;black,white,黑,白;yes,no,是,否;true,false,真,假;
love,hate,爱,恨;friend,enemy,朋友,敌人;win,lose,赢,输;buy,sell,买,卖;push,pull,推,拉;begin,end,开始,结束;first,last,第一,最后;always,never,总是,从不;more,less,多,少;high,low,高,低;
sweet,bitter,甜,苦;brave,cowardly,勇敢,胆小;safe,dangerous,安全,危险;alive,dead,活,死;asleep,awake,睡着,醒着;beautiful,ugly,美,丑;clever,stupid,聪明,愚蠢;cheap,expensive,便宜,贵;
warm,cool,暖,凉;north,south,北,南;east,west,东,西;before,after,之前,之后;question,answer,问题,答案;male,female,男,女;success,failure,成功,失败;war,peace,战争,和平;give,take,给,拿;
remember,forget,记得,忘记;laugh,cry,笑,哭;front,back,前,后;top,bottom,顶,底;inside,outside,里面,外面;rough,smooth,粗糙,光滑;straight,crooked,直,弯;lazy,hard-working,懒惰,勤劳;
polite,rude,礼貌,粗鲁;possible,impossible,可能,不可能;increase,decrease,增加,减少;arrive,leave,到达,离开;simple,complicated,简单,复杂;public,private,公开,私密
"""
COLOURS = """
the sky,blue,天空,蓝色;grass,green,草,绿色;a banana,yellow,香蕉,黄色;blood,red,血,红色;snow,white,雪,白色;coal,black,煤,黑色;a lemon,yellow,柠檬,黄色;a strawberry,red,草莓,红色;
an orange,orange,橙子,橙色;a carrot,orange,胡萝卜,橙色;milk,white,牛奶,白色;chocolate,brown,巧克力,棕色;a leaf,green,树叶,绿色;the sun,yellow,太阳,黄色;an elephant,grey,大象,灰色;
a flamingo,pink,火烈鸟,粉色;a crow,black,乌鸦,黑色;a frog,green,青蛙,绿色;the sea,blue,大海,蓝色;a tomato,red,西红柿,红色;a cucumber,green,黄瓜,绿色;a polar bear,white,北极熊,白色;
a pumpkin,orange,南瓜,橙色;a violet,purple,紫罗兰,紫色;gold,yellow,黄金,黄色;salt,white,盐,白色;a fire engine,red,消防车,红色;coffee,brown,咖啡,棕色;an aubergine,purple,茄子,紫色;broccoli,green,西兰花,绿色
"""
ANIMALS = """
dog,狗,mammal,哺乳动物,woof,汪汪,puppy,小狗,4;cat,猫,mammal,哺乳动物,meow,喵喵,kitten,小猫,4;cow,牛,mammal,哺乳动物,moo,哞哞,calf,小牛,4;sheep,羊,mammal,哺乳动物,baa,咩咩,lamb,小羊,4;
pig,猪,mammal,哺乳动物,oink,哼哼,piglet,小猪,4;horse,马,mammal,哺乳动物,neigh,嘶鸣,foal,小马,4;lion,狮子,mammal,哺乳动物,roar,吼叫,cub,幼狮,4;tiger,老虎,mammal,哺乳动物,roar,吼叫,cub,虎崽,4;
chicken,鸡,bird,鸟类,cluck,咯咯,chick,小鸡,2;duck,鸭子,bird,鸟类,quack,嘎嘎,duckling,小鸭,2;frog,青蛙,amphibian,两栖动物,croak,呱呱,tadpole,蝌蚪,4;wolf,狼,mammal,哺乳动物,howl,嚎叫,pup,狼崽,4;
owl,猫头鹰,bird,鸟类,hoot,咕咕,owlet,小猫头鹰,2;bee,蜜蜂,insect,昆虫,buzz,嗡嗡,larva,幼虫,6;snake,蛇,reptile,爬行动物,hiss,嘶嘶,snakelet,小蛇,0;mouse,老鼠,mammal,哺乳动物,squeak,吱吱,pup,小老鼠,4
"""
KINDS = """
whale,鲸鱼,mammal,哺乳动物;dolphin,海豚,mammal,哺乳动物;bat,蝙蝠,mammal,哺乳动物;elephant,大象,mammal,哺乳动物;rabbit,兔子,mammal,哺乳动物;bear,熊,mammal,哺乳动物;panda,熊猫,mammal,哺乳动物;monkey,猴子,mammal,哺乳动物;
giraffe,长颈鹿,mammal,哺乳动物;kangaroo,袋鼠,mammal,哺乳动物;penguin,企鹅,bird,鸟类;eagle,老鹰,bird,鸟类;ostrich,鸵鸟,bird,鸟类;parrot,鹦鹉,bird,鸟类;sparrow,麻雀,bird,鸟类;shark,鲨鱼,fish,鱼类;salmon,三文鱼,fish,鱼类;
goldfish,金鱼,fish,鱼类;crocodile,鳄鱼,reptile,爬行动物;turtle,乌龟,reptile,爬行动物;lizard,蜥蜴,reptile,爬行动物;toad,蟾蜍,amphibian,两栖动物;ant,蚂蚁,insect,昆虫;butterfly,蝴蝶,insect,昆虫;fly,苍蝇,insect,昆虫;mosquito,蚊子,insect,昆虫
"""
LEGS = "spider,蜘蛛,8;ant,蚂蚁,6;butterfly,蝴蝶,6;fly,苍蝇,6;elephant,大象,4;rabbit,兔子,4;bear,熊,4;penguin,企鹅,2;eagle,老鹰,2;crocodile,鳄鱼,4;person,人,2;giraffe,长颈鹿,4"
PLANETS_EN = "Mercury Venus Earth Mars Jupiter Saturn Uranus Neptune".split()
PLANETS_ZH = "水星 金星 地球 火星 木星 土星 天王星 海王星".split()
ORDER_EN = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split()
DAYS_EN = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
DAYS_ZH = "星期一 星期二 星期三 星期四 星期五 星期六 星期日".split()
MONTHS_EN = "January February March April May June July August September October November December".split()
MONTHS_ZH = "一月 二月 三月 四月 五月 六月 七月 八月 九月 十月 十一月 十二月".split()
MONTH_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
NUMBERS_EN = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
).split()
NUMBERS_ZH = "零 一 二 三 四 五 六 七 八 九 十 十一 十二 十三 十四 十五 十六 十七 十八 十九 二十".split()
WORDS = """
hello,你好;thank you,谢谢;goodbye,再见;yes,是;no,不;water,水;fire,火;sun,太阳;moon,月亮;star,星星;mountain,山;river,河;sea,海;tree,树;flower,花;cat,猫;dog,狗;bird,鸟;fish,鱼;horse,马;cow,牛;
tiger,老虎;panda,熊猫;apple,苹果;banana,香蕉;rice,米饭;bread,面包;milk,牛奶;tea,茶;coffee,咖啡;egg,鸡蛋;meat,肉;house,房子;door,门;window,窗户;table,桌子;chair,椅子;bed,床;book,书;pen,笔;
school,学校;teacher,老师;student,学生;friend,朋友;mother,妈妈;father,爸爸;brother,兄弟;sister,姐妹;child,孩子;man,男人;woman,女人;day,天;night,夜晚;year,年;month,月;week,星期;today,今天;
tomorrow,明天;yesterday,昨天;morning,早上;red,红色;blue,蓝色;green,绿色;white,白色;black,黑色;yellow,黄色;big,大;small,小;good,好;bad,坏;hot,热;cold,冷;love,爱;computer,电脑;telephone,电话;
car,汽车;train,火车;airplane,飞机;city,城市;country,国家;world,世界;heart,心;hand,手;eye,眼睛;rain,雨;snow,雪;wind,风;money,钱;time,时间;language,语言;question,问题;answer,答案;
machine learning,机器学习;neural network,神经网络;model,模型;data,数据;deep learning,深度学习;loss function,损失函数;gradient,梯度;overfitting,过拟合;learning rate,学习率;attention,注意力
"""


_HAN = re.compile("[一-鿿]")


def _rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in row.split(",")] for row in text.replace("\n", "").split(";") if row.strip()]


_CAPITALS, _OPPOSITES, _COLOURS = _rows(CAPITALS), _rows(OPPOSITES), _rows(COLOURS)
_ANIMALS, _LEGS, _WORDS = _rows(ANIMALS), _rows(LEGS), _rows(WORDS)
_KINDS = [[row[0], row[1], row[2], row[3]] for row in _ANIMALS] + _rows(KINDS)


def article(noun: str) -> str:
    """`a whale`, `an owl`."""
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"


def _pick(rng: random.Random, held_out: bool, usual: str, other: str) -> str:
    return rng.choice([item.strip() for item in (other if held_out else usual).split(";")])


def _exchange(language: str, topic: str, question: str, answer: str, *required: Sequence[str]) -> Exchange:
    needed: Required = tuple(tuple(word.lower() for word in group) for group in required)
    return Exchange("facts", language, question, answer, needed, topic)


def capital(language: str, rng: random.Random, held_out: bool) -> Exchange:
    """The capital of a country, or the country of a capital."""
    country, city, country_zh, city_zh = rng.choice(_CAPITALS)
    if language == "en":
        said = rng.choice(COUNTRY_ALIASES.get(country, (country,)))
        plain = city.replace("í", "i").replace("á", "a")
        if rng.random() < 0.8 or country == city:
            q = _pick(
                rng,
                held_out,
                "what is the capital of {c};what's the capital of {c};what is the capital city of {c};capital of {c};which city is the capital of {c};the capital of {c};"
                "what is {c}'s capital;name the capital of {c};{c} capital;what city is the capital of {c};do you know the capital of {c};tell me the capital of {c};{c}'s capital city;"
                "what is the name of the capital of {c};the capital of {c} is;capital city of {c};where is the capital of {c};which is the capital of {c};i need the capital of {c};say the capital of {c};{c}, what is its capital;give me the capital of {c};i'd like to know the capital of {c};tell me what the capital of {c} is;tell me the name of {c}'s capital;the capital city of {c};remind me of the capital of {c};guess the capital of {c};do you remember the capital of {c};which city is {c}'s capital city;what is {c}'s capital city;what's {c}'s capital;capital for {c};what is the main city of {c};{c} and its capital;who knows the capital of {c};what would be the capital of {c};can you tell me the capital of {c};could you tell me the capital of {c};what city is the capital city of {c};is {x} the capital of {c};{x} is the capital of {c}, right;what is called the capital of {c};capital {c};geography: capital of {c};please name {c}'s capital",
                "can you name the capital of {c};which town serves as the capital of {c};i forgot the capital of {c};what city is {c}'s capital",
            )
            return _exchange(
                language,
                "capital",
                q.replace("{c}", said).replace("{x}", rng.choice(_CAPITALS)[1]),
                f"The capital of {country} is {city}.",
                (city, plain),
            )
        q = _pick(
            rng,
            held_out,
            "{c} is the capital of which country;which country has the capital {c};of which country is {c} the capital;what country is {c} the capital of;{c} is the capital of;which country's capital is {c};{c} is the capital of what country;which country has {c} as its capital;{c} is the capital of where;where is {c} the capital;{c}, capital of which country;whose capital is {c};{c} is which country's capital;in which country is {c} the capital;for which country is {c} the capital;what country has {c} as capital",
            "name the country whose capital is {c};to which country does the capital {c} belong",
        )
        spoken = country.removeprefix("the ")
        return _exchange(
            language,
            "capital",
            q.replace("{c}", rng.choice((city, plain))),
            f"{city} is the capital of {country}.",
            (spoken,),
        )
    if rng.random() < 0.8 or country_zh == city_zh:
        q = _pick(
            rng,
            held_out,
            "{c}的首都是哪里;{c}的首都是什么;{c}首都是哪;{c}的首都;{c}的首都在哪里;{c}首都;哪个城市是{c}的首都;{c}的首都叫什么;{c}的首都是哪个城市;{c}首都在哪;{c}的首都是;说出{c}的首都;{c}的首都是哪儿;{c}首都是哪里;{c}首都是什么;{c}首都叫什么;{c}首都是哪个城市;{c}的首都在哪;{c}的首都在哪儿;{c}的首都是什么城市;{c}的首都城市;{c}的首都名字;{c}以哪个城市为首都;告诉我{c}的首都;请说出{c}的首都;我想知道{c}的首都;知道{c}的首都吗;还记得{c}的首都吗;猜猜{c}的首都;首都：{c};{c}定都哪里;{c}的首都是不是{x};{x}是{c}的首都吗;{c}的首都是啥;哪座城市是{c}的首都;哪里是{c}的首都",
            "你知道{c}的首都在哪个城市吗;我忘了{c}的首都是哪儿;{c}把首都设在哪里",
        )
        return _exchange(
            language,
            "capital",
            q.replace("{c}", country_zh).replace("{x}", rng.choice(_CAPITALS)[3]),
            f"{country_zh}的首都是{city_zh}。",
            (city_zh,),
        )
    q = _pick(
        rng,
        held_out,
        "{c}是哪个国家的首都;哪个国家的首都是{c};{c}是哪国首都;{c}是什么国家的首都;{c}是哪国的首都;哪个国家的首都叫{c};首都是{c}的国家;首都是{c}的是哪个国家;哪国的首都是{c};哪国首都是{c};{c}是谁的首都;{c}是哪个国家首都;{c}是首都吗，哪个国家的",
        "以{c}为首都的是哪个国家;{c}属于哪个国家的首都",
    )
    return _exchange(language, "capital", q.replace("{c}", city_zh), f"{city_zh}是{country_zh}的首都。", (country_zh,))


def _spoken(number: int, language: str, rng: random.Random) -> str:
    if number > 20 or rng.random() < 0.6:
        return str(number)
    return (NUMBERS_EN if language == "en" else NUMBERS_ZH)[number]


def arithmetic(language: str, rng: random.Random, held_out: bool) -> Exchange:
    """Addition and subtraction up to 20."""
    plus = rng.random() < 0.5
    total = rng.randrange(21)
    first = rng.randrange(total + 1)
    if not plus:
        first, total = total, total - first
    second = abs(total - first)
    a, b = _spoken(first, language, rng), _spoken(second, language, rng)
    sign = "+" if plus else rng.choice("--−")
    tight = rng.choice((f"{first}{sign}{second}", f"{first} {sign} {second}"))
    word = {"en": ("plus", "minus"), "zh": ("加", "减")}[language][not plus]
    if language == "en":
        q = _pick(
            rng,
            held_out,
            "what is {a} {w} {b};what's {a} {w} {b};{a} {w} {b};how much is {a} {w} {b};{t};{t}=;{t} = ?;what is {t};calculate {t};compute {t};{t}=?;what does {t} equal;how much is {t};{a} {w} {b} is;{a} {w} {b} equals;"
            "solve {t};what's {t};can you calculate {a} {w} {b};tell me {t};add it up: {t};{t} please;{t}, what is it;how many is {t};how many are {a} {w} {b};do you know {t};can you do {t};{t} is what;{t} equals what;what does {a} {w} {b} make;what does {a} {w} {b} equal;evaluate {t};calculate {a} {w} {b};compute {a} {w} {b};what is the answer to {t};answer: {t};math: {t};{t} answer;say {t};quick, {t};do the sum {t};solve this: {t};what's the answer to {a} {w} {b};could you calculate {t};tell me what {a} {w} {b} is;{t} equals;{t} is;how much does {a} {w} {b} make;{a} {w} {b} please;{a} {w} {b}=;{a} {w} {b}, how much;so {a} {w} {b};{a} {w} {b} makes;and {a} {w} {b};figure out {a} {w} {b};reckon {a} {w} {b};find {t};find {a} {w} {b};i need {a} {w} {b};result of {a} {w} {b};the result for {a} {w} {b};what number is {a} {w} {b};{a} {w} {b} equals what;{a} {w} {b} gives;which number is {t};help me with {t};my homework says {t};how much would {a} {w} {b} be;is it hard to do {t};{t} solve" + (";add {a} and {b};what is the sum of {a} and {b};the sum of {a} and {b};what do you get if you add {a} and {b};{a} and {b} makes;sum of {a} and {b};add {b} to {a};i have {a} apples and get {b} more, how many do i have;if i have {a} apples and buy {b} more, how many do i have;{a} and {b} together;{a} and {b} is;what do {a} and {b} make;how much do {a} and {b} make;how many is {a} and {b};what is {a} and {b};put {a} and {b} together;what's the sum of {a} and {b};total of {a} and {b};{a} added to {b};i have {a} and you give me {b}, what is the total;there are {a} birds and {b} more come, how many birds are there;{a} cats and {b} dogs, how many animals;i read {a} pages and then {b} pages, how many in all;{a} boys and {b} girls are in a room, how many children;count {a} and {b} together;if you put {b} on top of {a};{a} increased by {b};{b} more than {a};total when {a} and {b} are added;sum up {a} and {b};add up {a} and {b};add together {a} and {b};please add {a} and {b};anna has {a} coins, ben has {b}, how many together;{a} euros and {b} euros are how many euros" if plus else
            ";subtract {b} from {a};take {b} away from {a};what is {a} take away {b};what is the difference of {a} and {b};what is left if i take {b} from {a};i have {a} apples and eat {b}, how many are left;if i have {a} apples and eat {b}, how many are left;{b} less than {a};what is {b} less than {a};{a} take away {b};take {b} from {a};{a} less {b};what is the difference between {a} and {b};difference of {a} and {b};deduct {b} from {a};{a} without {b};i had {a} and lost {b}, what remains;what remains of {a} if i remove {b};how much is {a} take away {b};there are {a} birds and {b} fly away, how many stay;of {a} cookies i ate {b}, how many remain;i have {a} coins and spend {b}, how much is left;{a} decreased by {b};{a} reduced by {b};remove {b} from {a};{b} away from {a};from {a} subtract {b};please subtract {b} from {a};how many more is {a} than {b};{a} people, {b} leave, how many are there;{b} of {a} eggs broke, how many are whole;lower {a} by {b}"),
            "work out {a} {w} {b};give me the result of {t};what do you get for {t};if i calculate {t}, what comes out",
        )  # fmt: skip
        q = q.replace("{a}", a).replace("{b}", b).replace("{w}", word).replace("{t}", tight)
        return _exchange(
            language,
            "arithmetic",
            q,
            f"{first} {sign.replace('−', '-')} {second} = {total}.",
            (f"= {total}", f"is {total}"),
        )
    q = _pick(
        rng,
        held_out,
        "{a}{w}{b}等于几;{a}{w}{b}等于多少;{a}{w}{b}是多少;{a}{w}{b};{t};{t}等于几;{t}等于多少;{t}=;{t}=?;算一下{t};计算{t};{t}是多少;{a} {w} {b} 等于几;{a}{w}{b}得多少;{a}{w}{b}得几;{t}得几;算算{a}{w}{b};请计算{t};{t}等于啥;{t}得多少;{t}是几;{a}{w}{b}是几;{a}{w}{b}等于;{a}{w}{b}=;{a}{w}{b}=?;告诉我{t};{t}答案;{t}的答案是什么;求{t};口算{t};口算{a}{w}{b};请算{a}{w}{b};请问{t}等于几;请问{a}{w}{b}等于几;{a}{w}{b}呢;{a}{w}{b}答案是多少;计算{a}{w}{b};算{t};帮我算一下{t};你会算{t}吗;你知道{t}等于几吗;{a}{w}{b}等于啥;数学题：{t};{t}，等于多少;{a}{w}{b}，答案;{a}{w}{b}算一下;{a}{w}{b}多少;{t}多少;{t}几;{a}{w}{b}几;问你{a}{w}{b};考考你{t};考你一下：{a}{w}{b};{a} {w} {b};{a} {w} {b} 是多少;{a}{w}{b}会是几;作业题{t};{t}怎么算;{a}{w}{b}怎么算;求{a}{w}{b};求一下{a}{w}{b}的答案;心算{a}{w}{b};{a}{w}{b}，得数是几;{t}的得数;{a}{w}{b}的答案;小朋友问{a}{w}{b}"
        + (
            ";{a}和{b}加起来是多少;{a}与{b}的和;{a}与{b}的和是多少;{a}和{b}的和是几;{a}再加{b}是几;把{a}和{b}加起来;{a}个苹果又来{b}个，共几个;我有{a}块钱，又得到{b}块，总共多少;树上{a}只鸟，飞来{b}只，有几只;{a}个男生{b}个女生，几个人;{a}跟{b}相加;{a}和{b}相加等于几;{a}多{b}是几;{a}添上{b}得几;先看{a}页再看{b}页，看了几页"
            if plus
            else ";{a}减掉{b}是多少;{a}与{b}的差;{a}和{b}的差是多少;{a}拿走{b}剩多少;从{a}里减{b};从{a}里拿掉{b}剩几;{a}个苹果吃了{b}个，剩几个;我有{a}块钱，花了{b}块，还有多少;树上{a}只鸟，飞走{b}只，剩几只;{a}个人走了{b}个，还有几个;{a}少{b}是几;{a}比{b}多几;{b}比{a}少几;{a}里去掉{b}得几;{a}个鸡蛋碎了{b}个，好的有几个"
        ),
        "{t}的结果是什么;帮我算{a}{w}{b};{a}{w}上{b}一共是多少"
        if plus
        else "{t}的结果是什么;帮我算{a}{w}{b};{a}{w}去{b}还剩多少",
    )
    q = q.replace("{a}", a).replace("{b}", b).replace("{w}", word).replace("{t}", tight)
    return _exchange(
        language,
        "arithmetic",
        q,
        f"{first} {sign.replace('−', '-')} {second} = {total}{'。' if _HAN.search(q) else '.'}",
        (f"= {total}",),
    )


def counting(language: str, rng: random.Random, held_out: bool) -> Exchange:
    """Counting up or down, the neighbour of a number, which is larger, odd or even."""
    en = language == "en"
    sort = rng.randrange(5)
    if sort == 0:
        start = rng.choice((1, 1, 1, rng.randrange(1, 11)))
        stop = start + rng.randrange(2, 11)
        up = ", ".join(map(str, range(start, stop + 1)))
        if start == 1 and rng.random() < 0.7:
            q = _pick(rng, held_out, "count to {b};count up to {b};count from 1 to {b};can you count to {b};please count to {b};count from one to {b};count {b}",
                      "show me how you count to {b};let me hear you count up to {b}") if en else _pick(rng, held_out, "数到{b};从1数到{b};从一数到{b};请数到{b};你能数到{b}吗;数数到{b}", "数给我听，数到{b};一直数到{b}")  # fmt: skip
        else:
            q = _pick(rng, held_out, "count from {a} to {b};count up from {a} to {b};please count from {a} to {b};numbers from {a} to {b}", "list the numbers from {a} up to {b}") if en else _pick(
                rng, held_out, "从{a}数到{b};请从{a}数到{b};{a}到{b}的数字", "把{a}到{b}的数字都说出来")  # fmt: skip
        return _exchange(
            language,
            "counting",
            q.replace("{a}", str(start)).replace("{b}", str(stop)),
            up + ("." if en else "。"),
            (up,),
        )
    if sort == 1:
        start = rng.choice((3, 5, 10, 10, 7, 8))
        down = ", ".join(map(str, range(start, 0, -1)))
        q = _pick(rng, held_out, "count down from {a};count backwards from {a};countdown from {a};count backward from {a} to 1;count from {a} to 1;count down from {a} to 1", "start at {a} and count down") if en else _pick(
            rng, held_out, "从{a}倒数;倒数{a};从{a}倒着数;从{a}倒数到1;从{a}数到1", "从{a}开始往下倒着数")  # fmt: skip
        return _exchange(language, "counting", q.replace("{a}", str(start)), down + ("." if en else "。"), (down,))
    number = rng.randrange(1, 51)
    if sort == 2:
        after = rng.random() < 0.6
        other = number + 1 if after else number - 1
        if en:
            which = "after" if after else "before"
            q = _pick(
                rng,
                held_out,
                "what comes {w} {n};what number comes {w} {n};which number is {w} {n};what is the number {w} {n};number {w} {n}",
                "tell me which number stands {w} {n}",
            )
            return _exchange(
                language,
                "counting",
                q.replace("{w}", which).replace("{n}", str(number)),
                f"{other} comes {which} {number}.",
                (str(other),),
            )
        which = "后面" if after else "前面"
        q = _pick(
            rng, held_out, "{n}{w}是几;{n}{w}是什么数字;{n}{w}的数字是什么;数字{n}{w}是几", "挨着{n}{w}的数是多少"
        )
        return _exchange(
            language,
            "counting",
            q.replace("{w}", which).replace("{n}", str(number)),
            f"{number}{which}是{other}。",
            (str(other),),
        )
    if sort == 3:
        second = number + rng.choice((-1, 1)) * rng.randrange(1, 30)
        second = second if second > 0 and second != number else number + 7
        big = rng.random() < 0.6
        right = max(number, second) if big else min(number, second)
        wrong = number + second - right
        if en:
            w = "bigger" if big else "smaller"
            q = _pick(
                rng,
                held_out,
                "which is {w}, {n} or {m};what is {w}, {n} or {m};which number is {w}: {n} or {m};{n} or {m}, which is {w}",
                "of {n} and {m}, which one is {w}",
            )
            return _exchange(
                language,
                "counting",
                q.replace("{w}", w).replace("{n}", str(number)).replace("{m}", str(second)),
                f"{right} is {w} than {wrong}.",
                (f"{right} is",),
            )
        w = "大" if big else "小"
        q = _pick(
            rng,
            held_out,
            "{n}和{m}哪个{w};{n}和{m}谁{w};哪个更{w}，{n}还是{m};{n}跟{m}比哪个{w}",
            "{n}与{m}相比，哪一个更{w}",
        )
        return _exchange(
            language,
            "counting",
            q.replace("{w}", w).replace("{n}", str(number)).replace("{m}", str(second)),
            f"{right}比{wrong}{w}。",
            (f"{right}比",),
        )
    odd = number % 2 == 1
    if en:
        q = _pick(
            rng,
            held_out,
            "is {n} even or odd;is {n} odd or even;is {n} an even number;is {n} an odd number;is {n} odd;is {n} even",
            "tell me whether {n} is odd or even",
        )
        return _exchange(
            language,
            "counting",
            q.replace("{n}", str(number)),
            f"{number} is an {'odd' if odd else 'even'} number.",
            ("odd" if odd else "even",),
        )
    q = _pick(rng, held_out, "{n}是奇数还是偶数;{n}是偶数吗;{n}是奇数吗;{n}是单数还是双数", "{n}属于奇数还是偶数")
    return _exchange(
        language,
        "counting",
        q.replace("{n}", str(number)),
        f"{number}是{'奇数' if odd else '偶数'}。",
        ("奇数" if odd else "偶数",),
    )


def calendar(language: str, rng: random.Random, held_out: bool) -> Exchange:
    """The order of days and months, how many days a month has."""
    en, i = language == "en", rng.randrange(12)
    after = rng.random() < 0.6
    step = 1 if after else -1
    if rng.random() < 0.45:
        i %= 7
        j = (i + step) % 7
        if en:
            w = "after" if after else "before"
            q = _pick(rng, held_out, "what day comes {w} {d};which day is {w} {d};what is the day {w} {d};what comes {w} {d};which day comes {w} {d};day {w} {d};what day is {w} {d};what's the day {w} {d};the day {w} {d};which weekday is {w} {d};what weekday comes {w} {d};{w} {d} comes which day;tell me the day {w} {d};what is {w} {d};what day do we have {w} {d};which day of the week is {w} {d};which one is {w} {d};" + ("today is {d}, what day is tomorrow;if today is {d}, what is tomorrow;what day follows {d}" if after else "today is {d}, what day was yesterday;if today is {d}, what day was yesterday"),
                      "name the day {w} {d};which weekday do we have right {w} {d}")  # fmt: skip
            return _exchange(
                language,
                "calendar",
                q.replace("{w}", w).replace("{d}", DAYS_EN[i]),
                f"{DAYS_EN[j]} comes {w} {DAYS_EN[i]}.",
                (DAYS_EN[j],),
            )
        w = "后" if after else "前"
        day = DAYS_ZH[i].replace("星期", rng.choice(("星期", "星期", "周")))
        q = _pick(
            rng,
            held_out,
            "{d}{w}面是星期几;{d}的{w}一天是星期几;{d}{w}一天是星期几;{d}之{w}是星期几;{d}{w}面是哪天;{d}{w}面一天是星期几;{d}的{w}一天;{d}{w}一天;{d}的{w}一天是周几;{d}{w}面是周几;{d}的{w}天是星期几;{d}之{w}是哪一天;{d}{w}面是什么;{d}再{w}一天是星期几;"
            + (
                "今天{d}，明天星期几;如果今天是{d}，明天是星期几"
                if after
                else "今天{d}，昨天星期几;如果今天是{d}，昨天是星期几"
            ),
            "{d}{w}一天是哪天",
        )
        return _exchange(
            language,
            "calendar",
            q.replace("{w}", w).replace("{d}", day),
            f"{DAYS_ZH[i]}的{w}一天是{DAYS_ZH[j]}。",
            (DAYS_ZH[j],),
        )
    luck = rng.random()
    if luck < 0.45:
        j = (i + step) % 12
        if en:
            w = "after" if after else "before"
            q = _pick(rng, held_out, "what month comes {w} {d};which month is {w} {d};what is the month {w} {d};what comes {w} {d};which month comes {w} {d};month {w} {d};what month is {w} {d};what's the month {w} {d};the month {w} {d};which month is right {w} {d};{w} {d} comes which month;tell me the month {w} {d};what month do we have {w} {d};what is {w} {d};month right {w} {d};which one is {w} {d}" + (";what month follows {d}" if after else ""),
                      "name the month {w} {d};which month do we have right {w} {d}")  # fmt: skip
            return _exchange(
                language,
                "calendar",
                q.replace("{w}", w).replace("{d}", MONTHS_EN[i]),
                f"{MONTHS_EN[j]} comes {w} {MONTHS_EN[i]}.",
                (MONTHS_EN[j],),
            )
        w = "后" if after else "前"
        said = rng.choice((MONTHS_ZH[i], f"{i + 1}月"))
        q = _pick(
            rng,
            held_out,
            "{d}{w}面是几月;{d}的{w}一个月是几月;{d}{w}一个月是几月;{d}之{w}是几月;{d}{w}面是哪个月;{d}{w}面那个月是几月;{d}的{w}一个月;{d}{w}一个月;{d}的{w}一个月是哪个月;{d}之{w}是哪个月;{d}再{w}一个月是几月;{d}{w}面是什么月份",
            "{d}{w}一个月是哪个月",
        )
        return _exchange(
            language,
            "calendar",
            q.replace("{w}", w).replace("{d}", said),
            f"{MONTHS_ZH[i]}的{w}一个月是{MONTHS_ZH[j]}。",
            (MONTHS_ZH[j],),
        )
    if luck < 0.75:
        days = MONTH_DAYS[i]
        if en:
            q = _pick(
                rng,
                held_out,
                "how many days are in {d};how many days does {d} have;how many days has {d};how long is {d};number of days in {d};days in {d};how many days are there in {d};how many days {d} has;days of {d};{d} has how many days;{d} days;{d}, how many days;how many days in {d};the number of days in {d};does {d} have 30 or 31 days;is {d} 30 or 31 days long;length of {d};count the days in {d}",
                "what is the number of days of {d}",
            )
            answer = "February has 28 days, and 29 in a leap year." if i == 1 else f"{MONTHS_EN[i]} has {days} days."
            return _exchange(language, "calendar", q.replace("{d}", MONTHS_EN[i]), answer, (str(days),))
        said = rng.choice((MONTHS_ZH[i], f"{i + 1}月"))
        q = _pick(
            rng,
            held_out,
            "{d}有多少天;{d}有几天;{d}一共多少天;{d}是多少天;{d}几天;{d}多少天;{d}一共有几天;{d}一共有多少天;{d}有30天还是31天;{d}是30天还是31天;{d}的天数;{d}的天数是多少;{d}有多长;{d}里有几天",
            "{d}总共有几天",
        )
        answer = "二月有28天，闰年有29天。" if i == 1 else f"{MONTHS_ZH[i]}有{days}天。"
        return _exchange(language, "calendar", q.replace("{d}", said), answer, (str(days),))
    if en:
        o = ORDER_EN[i]
        q = _pick(
            rng,
            held_out,
            "what is the {o} month;which month is the {o};what is the {o} month of the year;which is the {o} month of the year;{o} month;what month is number {n}",
            "name the {o} month of the year",
        )
        return _exchange(
            language,
            "calendar",
            q.replace("{o}", o).replace("{n}", str(i + 1)),
            f"The {o} month of the year is {MONTHS_EN[i]}.",
            (MONTHS_EN[i],),
        )
    q = _pick(rng, held_out, "一年的第{n}个月是几月;第{n}个月是几月;一年中第{n}个月是哪个月", "一年里排第{n}的是几月")
    said = rng.choice((str(i + 1), NUMBERS_ZH[i + 1]))
    return _exchange(
        language,
        "calendar",
        q.replace("{n}", said),
        f"一年的第{NUMBERS_ZH[i + 1]}个月是{MONTHS_ZH[i]}。",
        (MONTHS_ZH[i],),
    )


def opposite(language: str, rng: random.Random, held_out: bool) -> Exchange:
    """The opposite of a word."""
    en = language == "en"
    row = rng.choice(_OPPOSITES)
    a, b = row[:2] if en else row[2:]
    if rng.random() < 0.5:
        a, b = b, a
    answers = {y for r in _OPPOSITES for x, y in ((r[0], r[1]), (r[1], r[0]), (r[2], r[3]), (r[3], r[2])) if x == a}
    b = next(
        y
        for r in _OPPOSITES
        for x, y in (((r[0], r[1]), (r[1], r[0])) if en else ((r[2], r[3]), (r[3], r[2])))
        if x == a
    )
    if en:
        q = _pick(rng, held_out, "what is the opposite of {a};what's the opposite of {a};opposite of {a};the opposite of {a};the opposite of {a} is;give me the opposite of {a};what is the contrary of {a};which word is the opposite of {a};tell me the opposite of {a};what is the antonym of {a};antonym of {a};what word is opposite to {a};opposite word of {a};opposite to {a};what's opposite to {a};what is opposite to {a};the reverse of {a};what is the reverse of {a};the contrary of {a};say the opposite of {a};find the opposite of {a};antonym for {a};what is the antonym for {a};what's the antonym of {a};{a} opposite;{a} antonym;i need the opposite of {a};please give the opposite of {a};{a} and its opposite;do you know the opposite of {a};can you tell me the opposite of {a};could you tell me the opposite of {a};opposite: {a};state the opposite of {a};what would be the opposite of {a};give me an antonym of {a};tell me an antonym for {a};the antonym of {a};which word is the antonym of {a};what is the word opposite to {a};opposite for {a};what's the contrary of {a}",
                  "name the opposite of {a};which word means the opposite of {a}")  # fmt: skip
        return _exchange(
            language,
            "opposite",
            q.replace("{a}", rng.choice((a, a, f'"{a}"'))),
            f'The opposite of "{a}" is "{b}".',
            sorted(answers),
        )
    q = _pick(
        rng,
        held_out,
        "{a}的反义词是什么;{a}的反义词;{a}的相反是什么;{a}的反面是什么;和{a}相反的是什么;与{a}相反的词是什么;反义词：{a};什么是{a}的反义词;{a}反义词是啥;说出{a}的反义词;{a}的反义;{a}反义词;反义词{a};{a}的对立面是什么;{a}反过来是什么;说说{a}的反义词;{a}的反义词是哪个;求{a}的反义词;告诉我{a}的反义词;知道{a}的反义词吗;你知道{a}的反义词吗;{a}对应的反义词;{a}的相反词;{a}的相反词是什么;{a}相反的词;{a}的反义词是什么词;{a}的反义词有什么;请说出{a}的反义词;请问{a}的反义词;{a}的反义词怎么说;与{a}相反;和{a}相反的词;跟{a}相反的是;{a}相反是什么;{a}反义词是什么;反义词是什么：{a}",
        "哪个词和{a}意思相反;给我{a}的反义词",
    )
    return _exchange(
        language, "opposite", q.replace("{a}", rng.choice((a, a, f"“{a}”"))), f"“{a}”的反义词是“{b}”。", sorted(answers)
    )


def colour(language: str, rng: random.Random, held_out: bool) -> Exchange:
    """The usual colour of a thing."""
    thing, tint, thing_zh, tint_zh = rng.choice(_COLOURS)
    if language == "en":
        q = _pick(rng, held_out, "what colour is {t};what color is {t};which colour is {t};what is the colour of {t};what is the color of {t};colour of {t};color of {t};what colour does {t} have;{t} is what color;tell me the colour of {t};which color does {t} have;{t} colour;{t} color;what's the colour of {t};what's the color of {t};what color does {t} have;what color has {t};tell me the color of {t};of what colour is {t};of which color is {t};what colour would you say {t} is;how is {t} coloured;i want to know the color of {t};the colour of {t};the color of {t};the color of {t} is;do you know the colour of {t};which is the color of {t}",
                  "{t} has which colour;can you say what colour {t} is")  # fmt: skip
        said = thing if rng.random() < 0.8 else thing.split(" ", 1)[-1] if thing.startswith(("a ", "an ")) else thing
        return _exchange(
            language, "colour", q.replace("{t}", said), f"{thing[0].upper()}{thing[1:]} is {tint}.", (tint,)
        )
    q = _pick(
        rng,
        held_out,
        "{t}是什么颜色;{t}是什么颜色的;{t}的颜色是什么;{t}什么颜色;{t}是哪种颜色;{t}的颜色;{t}是啥颜色;{t}颜色;{t}的颜色是啥;{t}是什么色;{t}是什么色的;{t}什么颜色的;{t}啥颜色;{t}的颜色是哪种;{t}通常是什么颜色;{t}一般是什么颜色;告诉我{t}的颜色;知道{t}的颜色吗;你知道{t}是什么颜色吗;请问{t}是什么颜色;{t}有什么颜色",
        "{t}长什么颜色;说说{t}的颜色",
    )
    return _exchange(
        language,
        "colour",
        q.replace("{t}", thing_zh),
        f"{thing_zh}是{tint_zh}的。" if not tint_zh.endswith("的") else tint_zh,
        (tint_zh, tint_zh[0]),
    )


def animal(language: str, rng: random.Random, held_out: bool) -> Exchange:
    """Sounds, young, legs and classes of animals."""
    en = language == "en"
    sort = rng.randrange(4)
    if sort == 0:
        row = rng.choice(_ANIMALS)
        if en:
            sound = "Moo" if row[4] == "moo" else row[4].capitalize()
            q = _pick(
                rng,
                held_out,
                "what sound does {a} make;what does {a} say;which sound does {a} make;what noise does {a} make;how does {a} sound;what sound do {s} make;sound of {a};what sound does {a} make when it calls;what do {s} say;what noise do {s} make;how do {s} sound;which noise does {a} make;{a} sound;{a} makes what sound;the sound of {a};imitate {a};make the sound of {a};what is the sound of {a};how does {a} go;what does {a} sound like",
                "what do you hear from {a}, which noise",
            )
            plural = {"sheep": "sheep", "wolf": "wolves", "mouse": "mice"}.get(row[0], row[0] + "s")
            return _exchange(
                language,
                "animal",
                q.replace("{a}", article(row[0])).replace("{s}", plural),
                f"{article(row[0]).capitalize()} says: {sound}!",
                (sound.lower(),),
            )
        q = _pick(
            rng,
            held_out,
            "{a}怎么叫;{a}的叫声是什么;{a}叫声;{a}是怎么叫的;{a}叫起来是什么声音;{a}发出什么声音",
            "{a}的声音听起来是怎样的",
        )
        return _exchange(language, "animal", q.replace("{a}", row[1]), f"{row[1]}的叫声是：{row[5]}。", (row[5],))
    if sort == 1:
        row = rng.choice(_ANIMALS)
        if en:
            q = _pick(
                rng,
                held_out,
                "what is a baby {a} called;what do you call a baby {a};what is the name of a young {a};what is a young {a} called;baby {a} name;how is a baby {a} called;baby {a};young {a};a baby {a} is called;name of a baby {a};what's a baby {a} called;what's the name for a baby {a};what is the young of a {a} called;what do we call a young {a};the baby of a {a};child of a {a};what is the child of a {a} called;word for a baby {a};what are baby {a} animals called",
                "which word is used for a young {a}",
            )
            return _exchange(
                language,
                "animal",
                q.replace("{a}", row[0]),
                f"A baby {row[0]} is called a {row[6]}."
                if row[6][0] not in "aeiou"
                else f"A baby {row[0]} is called an {row[6]}.",
                (row[6],),
            )
        q = _pick(
            rng, held_out, "{a}的幼崽叫什么;{a}的宝宝叫什么;{a}的孩子叫什么;小时候的{a}叫什么", "刚出生的{a}叫什么"
        )
        return _exchange(language, "animal", q.replace("{a}", row[1]), f"{row[1]}的幼崽叫{row[7]}。", (row[7],))
    if sort == 2:
        legs = [[r[0], r[1], r[8]] for r in _ANIMALS] + _LEGS
        name, name_zh, count = rng.choice(legs)
        if en:
            q = _pick(
                rng,
                held_out,
                "how many legs does {a} have;how many legs has {a};how many legs do {s} have;number of legs of {a};legs of {a};how many feet does {a} have;{a} legs;{a} has how many legs;how many legs are on {a};how many legs can {a} have;how many legs does {a} walk on;legs: {a};count the legs of {a};number of legs: {a};does {a} have legs, how many;how many paws does {a} have;tell me how many legs {a} has;what number of legs has {a}",
                "on how many legs does {a} walk",
            )
            plural = {
                "sheep": "sheep",
                "wolf": "wolves",
                "mouse": "mice",
                "butterfly": "butterflies",
                "fly": "flies",
                "person": "people",
            }.get(name, name + "s")
            answer = (
                f"{article(name).capitalize()} has {count} legs."
                if count != "0"
                else f"{article(name).capitalize()} has 0 legs: it has none."
            )
            return _exchange(
                language, "animal", q.replace("{a}", article(name)).replace("{s}", plural), answer, (count, "no legs")
            )
        q = _pick(
            rng,
            held_out,
            "{a}有几条腿;{a}有多少条腿;{a}几条腿;{a}的腿有几条;{a}有几只脚;{a}腿有几条;{a}有多少腿;{a}有几个脚;{a}几只脚;{a}长几条腿;{a}长了几条腿;{a}有多少只脚;{a}的腿数;{a}一共几条腿;{a}一共有几条腿;数一数{a}的腿;知道{a}有几条腿吗",
            "{a}靠几条腿走路",
        )
        return _exchange(language, "animal", q.replace("{a}", name_zh), f"{name_zh}有{count}条腿。", (count,))
    name, name_zh, kind, kind_zh = rng.choice(_KINDS)
    if en:
        wrong = rng.choice([k for k in ("fish", "bird", "mammal", "insect", "reptile") if k != kind])
        luck = rng.random()
        if luck < 0.5:
            q = _pick(
                rng,
                held_out,
                "what kind of animal is {a};what type of animal is {a};is {a} a mammal or a fish;what class of animal is {a};which group does {a} belong to;what animal group is {a};what sort of animal is {a};which class of animal is {a};which class does {a} belong to;what group of animals is {a};which kind of animal is {a};which type of animal is {a};classify {a};{a} is what kind of animal;{a} is what type of animal;animal class of {a};what is {a} biologically;is {a} a bird or a mammal;is {a} an insect or a bird",
                "to which class of animals does {a} belong",
            )
            return _exchange(
                language,
                "animal",
                q.replace("{a}", article(name)),
                f"{article(name).capitalize()} is {article(kind)}.",
                (kind,),
            )
        asked = kind if luck < 0.75 else wrong
        q = (
            _pick(rng, held_out, "is {a} {k};is {a} really {k};would you say {a} is {k}", "does {a} count as {k}")
            .replace("{a}", article(name))
            .replace("{k}", article(asked))
        )
        answer = (
            f"Yes, {article(name)} is {article(kind)}." if asked == kind else f"No, {article(name)} is {article(kind)}."
        )
        return _exchange(language, "animal", q, answer, (f"is {article(kind)}",))
    wrong = rng.choice([k for k in ("鱼类", "鸟类", "哺乳动物", "昆虫", "爬行动物") if k != kind_zh])
    luck = rng.random()
    if luck < 0.5:
        q = _pick(
            rng,
            held_out,
            "{a}是什么动物;{a}是哪类动物;{a}属于什么动物;{a}属于哪一类;{a}是哪一种动物;{a}是什么类;{a}是什么种类的动物;{a}属于什么类;{a}属于哪类动物;{a}属于什么种类;{a}的分类;{a}是什么类动物;{a}是哪一类动物;{a}属于哪种动物;{a}是鱼还是哺乳动物;{a}在动物里属于什么",
            "{a}归在哪一类动物里",
        )
        return _exchange(language, "animal", q.replace("{a}", name_zh), f"{name_zh}是{kind_zh}。", (kind_zh,))
    asked = kind_zh if luck < 0.75 else wrong
    q = (
        _pick(rng, held_out, "{a}是{k}吗;{a}是不是{k};{a}属于{k}吗", "{a}算{k}吗")
        .replace("{a}", name_zh)
        .replace("{k}", asked)
    )
    return _exchange(
        language, "animal", q, f"{'是的' if asked == kind_zh else '不是'}，{name_zh}是{kind_zh}。", (f"是{kind_zh}",)
    )


def planet(language: str, rng: random.Random, held_out: bool) -> Exchange:
    """The order of the planets from the sun."""
    i = rng.randrange(8)
    o = ORDER_EN[i]
    if language == "en":
        if rng.random() < 0.6:
            q = _pick(
                rng,
                held_out,
                "what is the {o} planet from the sun;which planet is the {o} from the sun;which is the {o} planet;what is the {o} planet;{o} planet;name the {o} planet from the sun;what's the {o} planet;what's the {o} planet from the sun;the {o} planet;the {o} planet from the sun;which planet is {o};which planet comes {o};{o} planet from the sun;tell me the {o} planet;what planet is the {o};the {o} planet of the solar system;name the {o} planet;which one is the {o} planet",
                "counted from the sun, which planet is the {o}",
            )
            return _exchange(
                language,
                "planet",
                q.replace("{o}", o),
                f"{PLANETS_EN[i]} is the {o} planet from the sun.",
                (PLANETS_EN[i],),
            )
        q = _pick(
            rng,
            held_out,
            "which number is {p} from the sun;what position is {p} from the sun;where is {p} in the solar system;what number planet is {p};is {p} a planet;what is {p};what kind of planet is {p};tell me about {p}",
            "in which place from the sun is {p}",
        )
        return _exchange(
            language,
            "planet",
            q.replace("{p}", PLANETS_EN[i]),
            f"{PLANETS_EN[i]} is the {o} planet from the sun.",
            (o,),
        )
    n = NUMBERS_ZH[i + 1]
    if rng.random() < 0.6:
        q = _pick(
            rng,
            held_out,
            "离太阳第{n}近的行星是什么;太阳系第{n}颗行星是什么;第{n}颗行星是哪颗;距离太阳第{n}的行星是哪个;太阳系的第{n}颗行星是哪颗",
            "从太阳数起第{n}颗行星是哪个",
        )
        return _exchange(
            language,
            "planet",
            q.replace("{n}", rng.choice((n, str(i + 1)))),
            f"{PLANETS_ZH[i]}是从太阳数起的第{n}颗行星。",
            (PLANETS_ZH[i],),
        )
    q = _pick(
        rng,
        held_out,
        "{p}是第几颗行星;{p}排第几;{p}是行星吗;{p}在太阳系的第几位;什么是{p};介绍一下{p};{p}是什么",
        "{p}从太阳数起是第几个",
    )
    return _exchange(
        language, "planet", q.replace("{p}", PLANETS_ZH[i]), f"{PLANETS_ZH[i]}是从太阳数起的第{n}颗行星。", (f"第{n}",)
    )


def translation(language: str, rng: random.Random, held_out: bool) -> Exchange:
    """A word from one of the two languages in the other."""
    word, word_zh = rng.choice(_WORDS)
    to_zh = rng.random() < 0.5
    if language == "en":
        if to_zh:
            q = _pick(
                rng,
                held_out,
                "what is {w} in chinese;how do you say {w} in chinese;translate {w} to chinese;translate {w} into chinese;{w} in chinese;what is the chinese word for {w};how to say {w} in chinese;chinese for {w};how do i say {w} in chinese;chinese word for {w};{w} chinese;{w} to chinese;say {w} in chinese;tell me {w} in chinese;how is {w} called in chinese;how is {w} written in chinese;write {w} in chinese;what's {w} in chinese;the chinese for {w};{w}, in chinese please;mandarin for {w};{w} in mandarin;what is {w} in mandarin;what do you call {w} in chinese;please translate {w} to chinese;please translate {w} into chinese;can you translate {w} to chinese;can you say {w} in chinese;translate the word {w} into chinese;how would you say {w} in chinese;how do you write {w} in chinese;the chinese word for {w};chinese translation of {w};what's the chinese for {w};what's the chinese word for {w};translate into chinese: {w};to chinese: {w};i want to say {w} in chinese;translate {w}",
                "what do chinese people call {w};which chinese word means {w}",
            )
            return _exchange(
                language,
                "translation",
                q.replace("{w}", rng.choice((word, f'"{word}"'))),
                f'"{word}" in Chinese is {word_zh}.',
                (word_zh,),
            )
        q = _pick(
            rng,
            held_out,
            "what does {w} mean;what does {w} mean in english;translate {w} to english;translate {w} into english;{w} in english;what is {w} in english;how do you say {w} in english;meaning of {w};{w} meaning;{w} english;{w} to english;say {w} in english;english for {w};what's {w} in english;how is {w} called in english;tell me the meaning of {w};please translate {w};translate {w};the english for {w};what is the meaning of {w};what is meant by {w};please translate {w} to english;can you translate {w} to english;translate {w} for me;translate the word {w};translation of {w};english translation of {w};what's the english for {w};what does the word {w} mean;what does the chinese word {w} mean;i don't know the word {w};explain the word {w};translate into english: {w}",
            "which english word means {w};what is the english word for {w}",
        )
        return _exchange(
            language, "translation", q.replace("{w}", word_zh), f'{word_zh} means "{word}" in English.', (word,)
        )
    if to_zh:
        q = _pick(
            rng,
            held_out,
            "{w}用中文怎么说;{w}的中文是什么;{w}是什么意思;把{w}翻译成中文;{w}中文怎么说;{w}翻译成中文;英语单词{w}是什么意思;{w}怎么翻译;{w}翻译;{w}是什么意思啊;{w}的意思;{w}汉语怎么说;请翻译{w};翻译{w};{w}啥意思;单词{w}的意思;{w}中文;{w}的汉语;{w}翻成中文;{w}的中文意思;{w}中文是什么;{w}的中文怎么说;{w}用汉语怎么说;请把{w}翻译成中文;翻译一下{w};{w}译成中文;英文{w}是什么意思;单词{w}什么意思;{w}什么意思;{w}的意思是什么;英语{w}的中文;{w}怎么说中文;{w}在中文里怎么说;把{w}译成中文",
            "{w}这个英文词的中文意思是什么",
        )
        return _exchange(
            language, "translation", q.replace("{w}", f"{word}"), f"{word} 的中文是“{word_zh}”。", (word_zh,)
        )
    q = _pick(
        rng,
        held_out,
        "{w}用英语怎么说;{w}的英文是什么;{w}英语怎么说;把{w}翻译成英语;{w}翻译成英文;{w}的英语;{w}用英文怎么说;{w}英文;{w}英语;{w}怎么用英语说;{w}英文怎么说;英语里{w}怎么说;请把{w}翻译成英文;{w}的英文单词;{w}的英语单词是什么;用英语说{w};{w}翻成英文;{w}的英语是什么;{w}译成英语;{w}怎么翻译;翻译{w};请翻译{w};{w}英文是什么;{w}的英文;{w}的英语怎么说;{w}的英文怎么说;{w}用英语怎么讲;{w}翻译成英语;把{w}翻译成英文;英文里{w}是什么;{w}的英文单词怎么写;用英文怎么说{w};怎么用英文说{w};{w}的英文翻译;{w}英语单词;{w}英语是什么;翻译一下{w};{w}的英文名",
        "{w}对应的英文单词是哪个",
    )
    return _exchange(
        language,
        "translation",
        q.replace("{w}", rng.choice((word_zh, f"“{word_zh}”"))),
        f"“{word_zh}”的英文是 {word}。",
        (word,),
    )


def too_large(language: str, rng: random.Random, held_out: bool = False) -> str:
    """A sum that lies outside of what the starter learned: numbers beyond 20, results below 0, products, quotients."""
    sign = rng.choice("++--**×x/÷")
    if sign in "+-":
        first, second = rng.choice(
            ((rng.randrange(21, 1000), rng.randrange(15, 1000)), (rng.randrange(21, 100), rng.randrange(1, 100)))
        )
        if sign == "-" and rng.random() < 0.2:
            first, second = (second % 20), (second % 20) + rng.randrange(1, 15)
    else:
        first, second = rng.choice(
            ((rng.randrange(2, 13), rng.randrange(2, 13)), (rng.randrange(2, 1000), rng.randrange(2, 100)))
        )
    english = {"+": "plus", "-": "minus", "/": "divided by", "÷": "divided by"}.get(sign, "times")
    chinese = {"+": "加", "-": "减", "/": "除以", "÷": "除以"}.get(sign, "乘以")
    tight = rng.choice((f"{first}{sign}{second}", f"{first} {sign} {second}"))
    if language == "en":
        q = _pick(
            rng,
            held_out,
            "what is {a} {w} {b};what's {a} {w} {b};{a} {w} {b};how much is {a} {w} {b};{t};{t}=;{t} = ?;what is {t};calculate {t};compute {t};{t}=?;how much is {t};solve {t};what's {t};tell me {t};{a} {w} {b} equals;{a} {w} {b} please;{t} please;calculate {a} {w} {b};how many is {t};can you do {t};{t} is what;the answer to {t};find {t};figure out {a} {w} {b};and {t};i need {a} {w} {b};evaluate {t}",
            "work out {a} {w} {b};give me the result of {t};what do you get for {t}",
        )
    else:
        q = _pick(
            rng,
            held_out,
            "{a}{w}{b}等于几;{a}{w}{b}等于多少;{a}{w}{b}是多少;{a}{w}{b};{t}等于几;{t}等于多少;算一下{t};计算{t};{t}是多少;{a}{w}{b}得多少;请计算{t};{t}得几;{a}{w}{b}呢;{a}{w}{b}多少;求{t};口算{t};告诉我{t};{t}怎么算;考考你{a}{w}{b};{t}的答案",
            "{t}的结果是什么;帮我算{a}{w}{b}",
        )
    word = english if language == "en" else chinese
    return q.replace("{a}", str(first)).replace("{b}", str(second)).replace("{w}", word).replace("{t}", tight)


_AFTER = {
    "en": "and {x};what about {x};how about {x};and of {x};now {x};{x};and for {x};the same for {x}".split(";"),
    "zh": "{x}呢;那{x}呢;换成{x}呢;{x}又是什么;那么{x}呢".split(";"),
}


def follow_up(topic: str, language: str, rng: random.Random) -> Exchange | None:
    """The same question about another thing ("and Italy?"); None for sorts of facts that aren't asked so."""
    at = 0 if language == "en" else 2
    ask = rng.choice(_AFTER[language])
    if topic == "capital":
        row = rng.choice(_CAPITALS)
        said = rng.choice(COUNTRY_ALIASES.get(row[0], (row[0],))) if language == "en" else row[2]
        answer = f"The capital of {row[0]} is {row[1]}." if language == "en" else f"{row[2]}的首都是{row[3]}。"
        return _exchange(language, topic, ask.replace("{x}", said), answer, (row[at + 1],))
    if topic == "opposite":
        made = opposite(language, rng, False)
        said = made.answer.split('"')[1] if language == "en" else made.answer[1 : made.answer.index("”")]
        return _exchange(language, topic, ask.replace("{x}", said), made.answer, *made.required)
    if topic == "colour":
        thing, tint, thing_zh, tint_zh = rng.choice(_COLOURS)
        answer = f"{thing[0].upper()}{thing[1:]} is {tint}." if language == "en" else f"{thing_zh}是{tint_zh}的。"
        said = thing if language == "en" else thing_zh
        return _exchange(language, topic, ask.replace("{x}", said), answer, (tint if language == "en" else tint_zh,))
    return None


MAKERS: dict[str, tuple[float, Callable[[str, random.Random, bool], Exchange]]] = {
    "capital": (2.2, capital),
    "arithmetic": (3.6, arithmetic),
    "counting": (1.3, counting),
    "calendar": (1.4, calendar),
    "opposite": (2.0, opposite),
    "colour": (0.9, colour),
    "animal": (1.4, animal),
    "planet": (0.6, planet),
    "translation": (2.4, translation),
}
"""Maker of each sort of fact, with how often it is asked."""


def fact(language: str, rng: random.Random, held_out: bool = False) -> Exchange:
    """A question of any sort."""
    name = rng.choices(list(MAKERS), [weight for weight, _ in MAKERS.values()])[0]
    return MAKERS[name][1](language, rng, held_out)
