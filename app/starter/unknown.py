"""What lies outside: questions whose only honest answer is "I don't know that".

Three sorts: named things that the starter was never taught (half of them made up on the spot, so that the boundary
is "not in what I learned" and not a list), questions about the present moment, and requests for work or advice that a
model of this size can't give.
"""

# ruff: noqa: E501, SIM905 - the sentences are data: a list on a line of its own reads better than one word per line

from __future__ import annotations

import math
import random
from functools import cache

from app.starter.memory import CITIES, CITIES_ZH, NAMES, invented
from app.starter.topics import expand, expand_all

ANSWERS = {
    "thing": {
        "en": [
            "I don't know that, sorry. I am a very small model and only know about this service, deep learning and a few everyday facts.",
            "Sorry, I don't know that. I would rather say so than invent an answer.",
            "I don't know, sorry. That lies outside what I learned.",
        ],
        "zh": [
            "抱歉，这个我不知道。我是个很小的模型，只懂这个服务、深度学习和一些常识。",
            "对不起，我不知道。我宁可承认，也不编造答案。",
            "这个我不知道，抱歉，它超出了我学过的内容。",
        ],
    },
    "now": {
        "en": [
            "I don't know that: I have no internet, no clock and no news. I only know what I was trained on.",
            "Sorry, I don't know. I can't look anything up, so I know nothing about the present.",
        ],
        "zh": [
            "这个我不知道：我没有网络、时钟和新闻，只知道训练时学过的内容。",
            "抱歉，我不知道。我不能上网查询，不了解当前的情况。",
        ],
    },
    "advice": {
        "en": [
            "I don't know enough to advise you on that, sorry. Please ask a professional you trust.",
            "Sorry, I don't know, and a wrong answer could do harm. Please ask an expert.",
        ],
        "zh": [
            "抱歉，这方面我不知道，不能给你建议，请咨询专业人士。",
            "对不起，我不知道，答错可能有害，请去问专家。",
        ],
    },
    "sum": {
        "en": ["I don't know that, sorry: I only add and subtract numbers up to 20."],
        "zh": ["这个我不知道，抱歉：我只会20以内的加减法。"],
    },
    "task": {
        "en": [
            "I can't do that, sorry: I am a very small model for short questions. TROIKA_MODEL=gpt2 gives you a larger one.",
            "Sorry, I don't know how to do that. I only answer short questions about things I learned.",
        ],
        "zh": [
            "抱歉，这个我做不到：我是只会回答简短问题的小模型。设置 TROIKA_MODEL=gpt2 可以换大一些的模型。",
            "对不起，我不会做这个，我只能回答学过的简短问题。",
        ],
    },
}

THINGS_EN = """
quantum entanglement; blockchain; photosynthesis; the french revolution; inflation; the stock market; dna; black holes; gravity;
the theory of relativity; opera; jazz; rugby; cricket; the bible; buddhism; feng shui; javascript; rust; java; php; html;
react; angular; mongodb; mysql; bluetooth; wifi; 5g; bitcoin; ethereum; an nft; cholesterol; insulin; the liver; malaria; vaccination;
a volcano; an earthquake; a tsunami; the ozone layer; democracy; communism; capitalism; the cold war; world war two; the roman empire;
the renaissance; hamlet; moby dick; harry potter; star wars; titanic; the mona lisa; the eiffel tower; the great wall;
machu picchu; stonehenge; sourdough; tiramisu; kimchi; hummus; a samovar; origami; ikebana; karate; judo; the olympics; formula one;
the world cup; the super bowl; a mortgage; a pension; income tax; copyright law; a trademark; plate tectonics; thermodynamics; entropy of gases;
calculus; topology; prime numbers; fermat's last theorem; the riemann hypothesis; a turing machine; the halting problem; linux; windows; macos;
a compiler; garbage collection; a hash table; quicksort; dijkstra's algorithm; a laser; a transistor; nuclear fusion; uranium;
the periodic table; sodium; acetone; a catalyst; osmosis; mitosis; evolution; dinosaurs; the ice age; a solar eclipse; saturn's hexagon;
the hubble telescope; a satellite; a steam engine; a diesel engine; a bicycle; chess openings; poker; sudoku; a violin; a saxophone; mozart's requiem;
beethoven; picasso; shakespeare; einstein; newton; napoleon; cleopatra; gandhi; churchill; lincoln; mandela; aristotle; plato; confucius;
elon musk; bill gates; taylor swift; lionel messi; cristiano ronaldo; michael jordan; barack obama; donald trump; joe biden; angela merkel; xi jinping;
putin; zelensky; beyonce; madonna; tom hanks; brad pitt; steven spielberg; stephen king; tolkien; agatha christie; marie curie; charles darwin;
tesla; spacex; amazon; netflix; facebook; instagram; tiktok; twitter; wechat; alibaba; tencent; toyota; boeing; ikea; samsung; nintendo; minecraft; fortnite;
llama; claude; gemini; mistral; deepseek; diffusion of gases; docker swarm; terraform; jenkins; a yak; a narwhal; the higgs boson; string theory;
dark matter; antimatter; the amazon river; mount everest; the sahara; the nile; lake baikal; the dead sea; the panama canal; route 66; brexit;
the european union; nato; the united nations; the federal reserve; gdp; hyperinflation; socialism; feudalism; the vikings; the samurai; the aztecs;
the crusades; the black death; smallpox; aspirin; penicillin; ibuprofen; anemia; asthma; a stroke; diabetes; yoga poses; pilates; keto; a smoothie;
espresso; champagne; whisky; a sonnet; existentialism; stoicism; nihilism; utilitarianism; zen; taoism; hinduism; ramadan; hanukkah; halloween;
thanksgiving; the tooth fairy; bigfoot; atlantis; area 51; ufos; astrology; tarot; reiki; homeopathy; acupuncture; knitting; pottery; falconry; beekeeping;
the moon landing; the internet; email; a smartphone; a laptop; usb; a router; a firewall; a virus; malware; phishing; spam; sql; git; bash; vim; emacs; a regex;
the gold standard; microeconomics; supply and demand; a bond; an etf; a hedge fund; the dow jones; a tax return; vat; a lease; a passport; a visa
"""
THINGS_ZH = """
量子纠缠; 区块链; 光合作用; 法国大革命; 通货膨胀; 股票市场; 黑洞; 引力; 相对论; 京剧; 爵士乐; 橄榄球; 板球; 圣经; 佛教; 风水; 蓝牙; 比特币; 以太坊; 胆固醇;
胰岛素; 肝脏; 疟疾; 疫苗; 火山; 地震; 海啸; 臭氧层; 民主; 资本主义; 冷战; 第二次世界大战; 罗马帝国; 文艺复兴; 哈姆雷特; 红楼梦; 西游记; 三国演义; 水浒传;
哈利波特; 星球大战; 蒙娜丽莎; 埃菲尔铁塔; 长城; 故宫; 兵马俑; 泡菜; 折纸; 空手道; 柔道; 奥运会; 世界杯; 房贷; 养老金; 所得税; 版权法; 板块构造; 热力学; 微积分;
拓扑学; 质数; 黎曼猜想; 图灵机; 编译器; 哈希表; 快速排序; 激光; 晶体管; 核聚变; 铀; 元素周期表; 钠; 催化剂; 渗透; 有丝分裂; 进化论; 恐龙; 冰河时代; 日食; 卫星;
蒸汽机; 自行车; 扑克; 数独; 小提琴; 贝多芬; 毕加索; 莎士比亚; 爱因斯坦; 牛顿; 拿破仑; 甘地; 林肯; 亚里士多德; 柏拉图; 孔子; 老子; 鲁迅; 李白; 杜甫; 苏轼; 秦始皇;
武则天; 康熙; 成吉思汗; 马云; 马化腾; 马斯克; 比尔盖茨; 姚明; 梅西; 周杰伦; 成龙; 特朗普; 拜登; 奥巴马; 普京; 特斯拉; 亚马逊; 脸书; 抖音; 微信; 淘宝; 支付宝; 京东;
华为; 小米; 丰田; 波音; 宜家; 三星; 任天堂; 我的世界; 王者荣耀; 弦论; 暗物质; 反物质; 珠穆朗玛峰; 撒哈拉沙漠; 尼罗河; 长江; 黄河; 泰山; 死海; 巴拿马运河; 欧盟;
北约; 联合国; 美联储; 维京人; 武士; 阿兹特克; 十字军; 黑死病; 天花; 阿司匹林; 青霉素; 贫血; 哮喘; 中风; 糖尿病; 瑜伽动作; 香槟; 威士忌; 十四行诗; 存在主义;
禅宗; 道教; 斋月; 万圣节; 感恩节; 外星人; 占星术; 塔罗牌; 针灸; 中医; 陶艺; 登月; 互联网; 电子邮件; 智能手机; 路由器; 防火墙; 病毒; 垃圾邮件; 数据库; 云计算; 元宇宙;
供需关系; 债券; 基金; 道琼斯指数; 增值税; 护照; 签证; 高考; 春运; 麻将; 围棋定式; 太极拳; 少林寺; 豆汁; 螺蛳粉; 二胡; 古筝; 书法; 剪纸; 唐诗; 宋词; 甲骨文; 丝绸之路
"""
HELD_OUT_THINGS = {
    "en": (
        "string cheese; the fall of constantinople; graphene; superconductivity; the krebs cycle; leonardo da vinci; rihanna; "
        "roger federer; the treaty of versailles; cobol; haskell; a black swan event; tectonic drift; the suez canal; paella; "
        "oracle database; genghis khan; the magna carta; a kangaroo court; serfdom"
    ).split("; "),
    "zh": (
        "石墨烯; 超导; 达芬奇; 刘德华; 苏伊士运河; 凡尔赛条约; 郑和下西洋; 虹吸现象; 甲骨文公司; 期权; 白血病; 昆曲; 都江堰; 诺贝尔奖; 汉武帝; 量子计算; 热带雨林; 彗星撞击"
    ).split("; "),
}
_FRAMES_THING = {
    "en": (
        "why do (cats purr|dogs bark at night|leaves fall|people yawn|onions make me cry|wolves howl|fingers wrinkle|volcanoes erupt|knees crack|bees dance|magnets attract iron); how do (magnets|planes|submarines|batteries|mirrors|microwaves|vaccines|bridges|clocks|elevators|refrigerators|fireworks|glasses|engines|telescopes) work; "
        "why is (the sea salty|blood red|gold so expensive|glass transparent|honey sticky|steel hard|latin dead|{c} so crowded|{c} famous); how (old|deep|long|high|far|hot|fast|heavy|wide) is (the universe|the {w} sea|the bridge of {c}|a marathon|lava|sound|the {w} tower|the tunnel of {c}|an olympic pool); "
        "who (built|founded|ruled|conquered|discovered|destroyed|designed) (the pyramids|{c}|rome|the {w} bridge|the {w} empire|the taj mahal|the first car|the {w} cathedral); what is the (currency|population|flag|anthem|national dish|religion|climate|president|tallest tower|dialling code|time zone) of ({c}|{w}|brazil|kenya|sweden); "
        "when (did|does) (the war end|{p} become famous|{c} hold the olympics|the {w} season start|the dinosaurs die out|world war one begin|the titanic sink|{p} get married); what did {p} (say|write|invent|study|discover|paint) in {y}; which (river|mountain|sea|army|company|team|king) (is in|won in|ruled|lies near) {c}; "
        "what does (the {w} act|{w} law|the {w} theorem|a {w} do) (say|mean|prove|all day); who is the (author|director|singer|inventor|coach|owner|ceo|founder) of ({w}|{t}|the {w} company|{p}'s team); how is (paper|glass|wine|steel|soap|beer|plastic) made; what are the (ingredients|symptoms|rules|side effects|benefits|causes) of ({w}|{t}|{w} disease|malaria|poker); "
        "what is the (boiling point|density|chemical formula|melting point|half-life) of (iron|ethanol|{w}|salt|gold|mercury the metal); how many (people|cars|bridges|islands|languages|schools) are there in ({c}|{w}|the world|india); name (three|five|some) (kings|rivers|poets|films|mountains|presidents) (of {c}|of france|starring {p}|from {y}); "
        "what happened (to {p}|at the battle of {c}|on the {w} island|in the story of {w}|during the {y} crisis); what's (special|new|wrong|famous) about ({c}|{w}|{p}); do you know (the song {w}|the film {w}|the band {w}|the book {w}|a man called {p}|the town {c}|how to get to {c}); is (there life on mars|{c} safe|{p} rich|{w} poisonous|the earth flat or not in {w}|{w} a real word); "
        "who is {p}; who was {p}; tell me about {p}; what do you know about {p}; how old is {p}; where was {p} born; when did {p} die; what did {p} do; "
        "who is {p} married to; is {p} famous; where is {c}; what is the population of {c}; who is the mayor of {c}; how far is {c} from {c2}; "
        "how do i get to {c}; what language do they speak in {c}; who invented {t}; who discovered {t}; when was {t} invented; what is the history of {t}; "
        "how much does {t} cost; where can i buy {t}; how many people like {t}; what are the parts of {t}; who wrote {t}; what year was {t}; "
        "what is the plot of {t}; is {t} dangerous; what causes {t}; what is the best book about {t}; how tall is {p}; what is the phone number of {p}; "
        "how big is {c}; what is {c} known for; what is a {w}; what is {w}; what does {w} mean; explain {w}; who is {w}; tell me about {w}; {w}; "
        "have you heard of {w}; what do you know about {w}; how does {w} work; define {w}; where is {w}; is {w} good; what happened in {y}; "
        "what happened in {c} in {y}; who won the nobel prize in {y}; who was president in {y}; who is the president of {c}; who is the king of {c}; "
        "what is the capital of {w}; how many people live in {c}; what is the area of {c}; who won the world cup in {y}; "
        "what is the square root of {n}; how many {w}s are there; what is the meaning of the word {w}; "
        "how do you say {w} in french; translate {w} into german; what is the currency of {w}; who painted {t}; who sang {t}; "
        "what is the speed of {t}; how heavy is {t}; what is the atomic number of {t}; which team does {p} play for; what films did {p} make; "
        "did {p} win; why did {p} leave {c}; is {p} alive; what is the best hotel in {c}; what are good restaurants in {c}; "
        "who wrote romeo and juliet; who wrote don quixote; who wrote war and peace; who painted the mona lisa; who painted the starry night; who discovered america; who discovered penicillin; who invented the telephone; who invented the light bulb; who invented the printing press; who invented the car; who invented the computer; who was the first man on the moon; who was the first president of the united states; who was the first emperor of china; when did world war two end; when did world war one start; when did the berlin wall fall; when did the titanic sink; when was the french revolution; when was the roman empire; when did columbus sail; what is the highest mountain; what is the tallest mountain in the world; what is the longest river; what is the longest river in the world; what is the deepest lake; what is the largest country; what is the smallest country; what is the largest desert; what is the largest city in the world; what is the tallest building in the world; what is the speed of light; what is the speed of sound; what is the population of the world; how many people live in china; how many people live in india; how many countries are there; how many languages are there in the world; how many bones does a human have; how many teeth does an adult have; how many stars are in the sky; how many states are in the usa; how tall is the eiffel tower; how high is mount everest; how long is the great wall; how old is the universe; how far is mars; how deep is the ocean; how much does an elephant weigh; how long do cats live; how fast is a horse; how many strings has a violin; how many players are in a football team; what is the currency of japan; what is the currency of england; what is the national animal of china; what language do they speak in brazil; what do people eat in italy; what religion is practised in india; what is the chemical symbol of gold; what is the chemical formula of salt; what is pi; what are the digits of pi; what is the square root of two; what is 15 percent of 200; what is the derivative of x squared; solve 2x + 3 = 7; what is the integral of x; is 97 a prime number; what is the meaning of the word ubiquitous; what does carpe diem mean; how do you say hello in french; how do you say thank you in spanish; how do you say goodbye in german; how do you say love in japanese; what is the best phone; what is the best car; what is the best programming language; which is the best football team; what is the best movie ever; who is the richest man in the world; who is the most famous singer; who is the best football player; who is the strongest man; who is the queen of england; who is the pope; who is the chancellor of germany; who founded microsoft; who founded apple; who is the ceo of google; who is the ceo of openai; what is my ip; what is my horoscope; do aliens exist; are there aliens; are ghosts real; is the moon landing fake; what came first, the chicken or the egg; why do cats purr; why do people dream; why do we sleep; why do leaves fall; why is the sea salty; how do airplanes fly; how does a car engine work; how does a fridge work; how does the internet work; how do magnets work; how does a microwave work; how is glass made; how is paper made; how are diamonds formed; how do bees make honey; how do vaccines work; how does the heart work; how does electricity work; how do plants grow; what causes earthquakes; what causes rain; what is thunder; what is a black hole; what is the big bang; what is time; what is money; what is energy in physics; what is beauty; what is art; what is philosophy; what is psychology; what is economics; what is chemistry; what is physics; what is biology; what is a poem made of; tell me about the history of {c}; tell me about the pyramids; tell me about ancient rome; tell me about football; tell me about music; tell me about cars; who sings {w}; what are the rules of {t}; is {t} better than {w}; what is the difference between {t} and {w}; compare {t} and {w}; what are the benefits of {t}; what are the side effects of {w}; when is {w}; give me a summary of {t}; what does {p} think about {w}; where does {p} live; how can i contact {p}; what is the email of {p}; how rich is {p}; what is the recipe of {w}; is {p} your friend; do you know {p}; my friend {p} says {w} is good, is that true; what is the opposite of {t}; what colour is {t}; how many legs does a {m} have; what is a baby {m} called; what sound does a {m} make; is a {m} a mammal; what kind of animal is a {m}; capital of {m}; what is the capital of {m}; the {m} endpoint; what does the {m} endpoint do; how do i use /{m}; what is the {m} setting; what does TROIKA_{m} do; what is the {m} optimizer; what is the {m} activation; explain the {m} layer; what is a {m} network; define {m} learning; how does {m} regularization work; what is {m} loss; what is {m} in chinese; how many days does {m} have; which planet is called {m}; what is the {n}th planet; is {m} a good model; what is {m}gpt; how large is {m}-{y}; who made {m}; when was {m} released; does {m} support streaming; what is the population of {c}; which river flows through {c}; which people live in {c}; who founded {c}; what is the flag of {c}; how hot is {t}; how deep is {t}; where does {t} come from; how is {t} made; how do i repair {t}; how often does {t} happen; what is inside {t}; why does {t} exist; why is {t} so popular; who needs {t}; what is the price of {t}; what is the weight of {t}; what is the size of {t}; what is the smell of {t}; what is the taste of {t}; what is the rule of {t}; how do i learn {t}; which country has the most {t}; which is older, {t} or {w}; what happened to {p}; what is {p} famous for; who are the parents of {p}; which book did {p} write; what did {p} invent; which prize did {p} win; which songs did {p} record; which sport does {p} play; did you read the book by {p}; i met {p} in {c}, who is that; what is {n} times {n2}; what is {n} percent of {n2}; how many seconds are {n} years; how many miles are {n} kilometres; convert {n} euros to dollars; what is the {n}th prime number; what does the abbreviation {a} stand for; what is {a}; {a}"
    ).split("; "),
    "zh": (
        "(猫|狗|人|狼|叶子|海水)为什么(打呼噜|打哈欠|嚎叫|会落下|是咸的|做噩梦); (磁铁|飞机|潜艇|电池|微波炉|疫苗|冰箱|电梯|望远镜|发动机)的原理是什么; (血|玻璃|黄金|钢)为什么(是红的|透明|这么贵|这么硬); (宇宙|马拉松|岩浆|{c}的桥|{c}隧道|奥运泳池)有多(大|长|热|深); "
        "(金字塔|泰姬陵|罗马城|{c}|圆明园)是谁(建的|设计的|毁掉的); (巴西|肯尼亚|瑞典|{c}|{w})的(货币|人口|国旗|国歌|宗教|气候|时区)是什么; (第一次世界大战|泰坦尼克号|恐龙|{p}|{w}战争)是(哪年|什么时候)(开始的|沉没的|灭绝的|成名的|结束的); "
        "{p}在{y}年(说了|写了|发明了|发现了|画了)什么; 哪(条河|座山|支军队|家公司)在{c}; {w}(法|定理|协议)说的是什么; {w}(公司|乐队|球队)的(创始人|主唱|教练|老板)是谁; (纸|玻璃|酒|肥皂|塑料|豆腐)是怎么(做|制造|生产)的; {w}的(成分|症状|规则|副作用|好处|起因)是什么; "
        "(铁|酒精|盐|{w})的(沸点|密度|化学式|熔点)是多少; ({c}|世界上|印度)有多少(人|辆车|座桥|个岛|种语言|所学校); 说出(三|五)个(国王|诗人|总统|作家)的名字; {p}后来怎么样了; {c}战役发生了什么; {c}有什么特别的; 你知道(歌曲|电影|小说|乐队){w}吗; 火星上有生命吗; {c}安全吗; {w}有毒吗; {p}有钱吗; "
        "{p}是谁; 谁是{p}; 介绍一下{p}; 你知道{p}吗; {p}多大了; {p}出生在哪里; {p}什么时候去世的; {p}做过什么; {p}结婚了吗; {p}有名吗; {c}在哪里; {c}有多少人口; "
        "{c}的市长是谁; {c}离{c2}有多远; 怎么去{c}; {c}人说什么语言; 谁发明了{t}; 谁发现了{t}; {t}是什么时候发明的; {t}的历史是什么; {t}多少钱; 哪里能买到{t}; "
        "{t}的作者是谁; {t}危险吗; {t}的原因是什么; 关于{t}有什么好书; {p}有多高; {p}的电话号码是多少; {c}有多大; {c}以什么闻名; 什么是{w}; {w}是什么; {w}是什么意思; "
        "解释{w}; {w}; 听说过{w}吗; {w}怎么用; {w}在哪; {w}好吗; {y}年发生了什么; {y}年诺贝尔奖得主是谁; {y}年的总统是谁; {c}的总统是谁; {w}的首都是哪里; {c}的面积是多少; "
        "{y}年世界杯谁赢了; {n}的平方根是多少; {w}用法语怎么说; 把{w}翻译成德语; 谁画了{t}; 谁唱了{t}; {t}有多重; {t}的速度是多少; "
        "{p}在哪个队踢球; {p}拍过什么电影; {p}还活着吗; {c}最好的酒店是哪家; {c}有什么好餐厅; {p}是做什么的; {t}有几个部分; {t}的结局是什么; "
        "谁写了红楼梦; 谁写了罗密欧与朱丽叶; 谁画了蒙娜丽莎; 谁发现了美洲; 谁发现了青霉素; 谁发明了电话; 谁发明了电灯; 谁发明了造纸术; 谁发明了汽车; 谁发明了电脑; 谁第一个登上月球; 美国第一任总统是谁; 中国第一个皇帝是谁; 第二次世界大战什么时候结束; 第一次世界大战什么时候开始; 柏林墙什么时候倒塌; 泰坦尼克号什么时候沉没; 唐朝是什么时候; 世界最高的山是什么; 最高的山峰是哪座; 最长的河是什么; 世界上最长的河流; 最深的湖是哪个; 最大的国家是哪个; 最小的国家是哪个; 最大的沙漠是哪个; 世界最大的城市; 世界最高的楼是什么; 光速是多少; 声速是多少; 世界人口有多少; 中国有多少人; 印度有多少人; 世界上有多少个国家; 世界上有多少种语言; 人有多少块骨头; 成年人有多少颗牙; 天上有多少星星; 中国有多少个省; 埃菲尔铁塔有多高; 珠穆朗玛峰有多高; 长城有多长; 宇宙有多少岁; 火星有多远; 大海有多深; 大象有多重; 猫能活多久; 马跑多快; 足球队有几个人; 日本的货币是什么; 英国的货币是什么; 巴西人说什么语言; 意大利人吃什么; 黄金的化学符号是什么; 盐的化学式是什么; 圆周率是多少; 根号二是多少; 200的百分之十五是多少; x平方的导数是什么; 解方程2x+3=7; 97是质数吗; 你好用法语怎么说; 谢谢用西班牙语怎么说; 再见用德语怎么说; 爱用日语怎么说; 最好的手机是什么; 最好的车是什么; 最好的编程语言是什么; 最好的球队是哪个; 最好看的电影是什么; 世界首富是谁; 最有名的歌手是谁; 最好的足球运动员是谁; 英国女王是谁; 教皇是谁; 德国总理是谁; 微软是谁创立的; 苹果公司是谁创立的; 谷歌的ceo是谁; openai的ceo是谁; 我的星座运势; 外星人存在吗; 有外星人吗; 世界上有鬼吗; 登月是假的吗; 先有鸡还是先有蛋; 猫为什么打呼噜; 人为什么做梦; 人为什么要睡觉; 树叶为什么会落; 海水为什么是咸的; 飞机为什么能飞; 汽车发动机怎么工作; 冰箱怎么工作; 互联网怎么工作; 磁铁怎么工作; 微波炉怎么工作; 玻璃怎么做的; 纸是怎么做的; 钻石怎么形成的; 蜜蜂怎么酿蜜; 疫苗怎么起作用; 心脏怎么工作; 电是怎么来的; 植物怎么生长; 地震是怎么发生的; 为什么会下雨; 打雷是怎么回事; 什么是大爆炸; 什么是时间; 什么是金钱; 什么是艺术; 什么是哲学; 什么是心理学; 什么是经济学; 什么是化学; 什么是物理; 什么是生物学; 介绍一下{c}的历史; 说说金字塔; 说说古罗马; 聊聊足球; 聊聊音乐; 聊聊汽车; {t}的规则是什么; {t}和{w}哪个好; {t}和{w}有什么区别; 比较{t}和{w}; {t}有什么好处; {w}有什么副作用; {w}是什么时候; 概括一下{t}; {p}怎么看{w}; {p}住在哪里; 怎么联系{p}; {p}的邮箱是什么; {p}有多少钱; {p}是你的朋友吗; 你认识{p}吗; 朋友{p}说{w}很好，是真的吗; 春节是什么时候; 端午节吃什么; 中秋节的来历; 李白写过什么诗; 床前明月光的下一句; 中国有几大菜系; 怎么学好英语; 哪里好玩; 北京有什么景点; 上海有什么好吃的; {t}的反义词是什么; {t}是什么颜色; {m}有几条腿; {m}的幼崽叫什么; {m}怎么叫; {m}是哺乳动物吗; {m}是什么动物; {m}的首都; {m}的首都是什么; {m}接口是做什么的; {m}这个设置是什么; 什么是{m}优化器; 什么是{m}激活函数; 解释{m}层; {m}网络是什么; {m}学习是什么; {m}正则化怎么工作; {m}损失是什么; {m}用英语怎么说; {m}有多少天; {m}行星在哪里; {m}模型好吗; {m}有多少参数; 谁做了{m}; {m}什么时候发布的; {m}支持流式吗; 哪条河流过{c}; {c}是谁建立的; {c}有什么特产; {c}的历史有多久; {t}有多热; {t}有多深; {t}是从哪里来的; {t}是怎么做的; {t}坏了怎么修; {t}多久发生一次; {t}里面是什么; 为什么有{t}; {t}为什么流行; 谁需要{t}; {t}的价格; {t}的重量; {t}的味道; 怎么学{t}; 哪个国家{t}最多; {t}和{w}哪个更早; {p}后来怎么样了; {p}因为什么出名; {p}的父母是谁; {p}写了哪本书; {p}发明了什么; {p}得过什么奖; {p}唱过什么歌; {p}从事什么运动; 我在{c}遇见了{p}，他是谁; {n}乘以{n2}是多少; {n2}的百分之{n}是多少; {n}年有多少秒; {n}公里是多少英里; {n}欧元换多少人民币; 第{n}个质数是几; {a}是什么的缩写; {a}是什么意思"
    ).split("; "),
}
_FRAMES_THING_HELD_OUT = {
    "en": (
        "what nationality is {p}; when was {p} born; what is the tallest building in {c}; who built {t}; "
        "what school did {p} attend; give me facts about {w}; could you describe {w}; who owns {t}; what is the zip code of {c}"
    ).split("; "),
    "zh": (
        "{p}是哪国人; {p}哪年出生; {c}最高的楼是哪座; {t}是谁建的; {p}毕业于哪所学校; 说说{w}的情况; {w}是哪里产的; {c}的邮编是多少"
    ).split("; "),
}
_NOW = {
    "en": (
        "who is winning (right now|the match|the election); what's the latest on ({p}|{c}|{t}); how is the weather going to be in {c}; is the (shop|museum|airport|road) in {c} open; when is the next (bus|flight|holiday|full moon|concert); did (it rain|anything happen|{p} win|the train leave) (today|yesterday|last night); how long until (christmas|summer|lunch|the weekend); what time (does|will) the (sun|shop|game|train) (set|open|start|come); how many followers does {p} have; where is {p} (now|today|living); what's playing (tonight|at the cinema|on the radio); is the (market|road|airport|internet) (down|closed|busy) (today|now); what did {p} tweet; show me the (news|weather|traffic|score); "
        "what is the weather (today|tomorrow|like|now|in {c}); how is the weather (today|in {c}); what's the weather (like|today|in {c} today|in {c} tomorrow); will it rain (today|tomorrow|in {c}|this weekend); "
        "is it (cold|hot|sunny|raining) (today|outside|in {c}); what is the temperature (outside|in {c}|now|today); what time is it (now|in {c}|); do you have the time; what day is (it|today); what is the date (today|); "
        "what is today's date; what year is it (now|); what month is it (now|); what is the news (today|); any news (today|); what happened (today|yesterday|last week|this morning); tell me the (latest|) news; "
        "what is the price of (gold|bitcoin|oil|milk|bread|a ticket to {c}|a house in {c}|an iphone); how much is (gold|bitcoin|a coffee|an iphone|a flight to {c}); how much does (a house|a car|a new phone|a flight to {c}) cost; "
        "what is the stock price of (apple|tesla|google|nvidia); is the stock market (up|down) today; who won (the game|the match|the election|the football) (yesterday|last night|today|); what is the score; "
        "who is the (president|prime minister|king|chancellor) (of the usa|of france|of germany|of china|of japan|of india|now|); what is the exchange rate of (the euro|the dollar|the yuan); how much is a (dollar|euro) in yuan; "
        "what is on tv (tonight|); what films are (on|new) (now|this week|); what is trending (on twitter|today|); where am i (right now|); what is my ip address; what is my (phone number|password|email|address|birthday); "
        "when is (easter|the next election|the next train|ramadan|chinese new year) (this year|next year|); what is the traffic like (in {c}|); when does the (shop|bank|museum|train) (open|close|leave); "
        "is {p} (online|there|at home|coming); what am i (wearing|doing|thinking|eating); how many people are (online|using you|here) now; who is talking to you; what will the weather be tomorrow; do i need an umbrella today; "
        "what will happen (tomorrow|next year|in the future); who will win (the election|the world cup|the match); will {p} win; what are the lottery numbers; can you predict the future; what is the newest (iphone|gpt|model|phone); "
        "is the (bank|shop) open (now|today); how is the economy doing; what are today's headlines; search the web for {t}; google {t}; look up {t}; open (google|youtube|my email|this link); can you browse the internet"
    ).split("; "),
    "zh": (
        "({p}|{c}|{t})最新消息; 现在谁领先; {c}的(商店|博物馆|机场)开门吗; 下一(班车|趟航班|场比赛)是什么时候; 离(春节|暑假|周末)还有多久; {p}现在在哪里; {p}有多少粉丝; 今晚电影院放什么; 昨天(下雨了吗|发生什么了|谁赢了); 给我看(新闻|天气|路况|比分); 今天(限行|停电|堵车)吗; 太阳几点(升起|落下); 最近有什么(热门歌曲|好看的剧|大新闻); "
        "今天天气怎么样; (今天|明天|现在|{c}|{c}今天)天气(怎么样|如何|好吗|怎样); 今天天气; (今天|明天|周末|{c})会下雨吗; (今天|外面|{c})(冷|热)吗; 现在(气温|温度)是多少; {c}的气温是多少; 现在几点; 几点了; 现在几点了; 今天几号; 今天星期几; 今天是几月几号; "
        "今年是哪一年; 现在是几月; 今天是什么日子; 今天有什么新闻; 有什么新闻; (最近|今天|昨天|上周)发生了什么; 告诉我最新的新闻; (黄金|比特币|石油|牛奶|大米|苹果手机)(多少钱|的价格是多少|现在什么价); {c}的房价是多少; 去{c}的机票多少钱; "
        "(苹果|特斯拉|腾讯|茅台)的股价是多少; 今天股市涨了吗; (昨天|昨晚|今天)的比赛谁赢了; 比分是多少; (美国|法国|德国|日本|中国|印度|现在)的?(总统|总理|领导人)是谁; 美国总统是谁; 现任总统是谁; (美元|欧元|人民币)汇率是多少; 一美元等于多少人民币; "
        "今晚电视放什么; 最近有什么电影; 现在什么最火; 我现在在哪里; 我的(电话号码|密码|邮箱|地址|生日)是什么; 今年春节是哪天; 下次选举是什么时候; 下一班火车几点; {c}堵车吗; (商店|银行|博物馆)几点(开门|关门); {p}在线吗; 我穿着什么; 我在想什么; "
        "现在有多少人在用你; 今天要带伞吗; 明天会发生什么; 未来会怎样; 谁会赢得(选举|世界杯|比赛); 彩票号码是多少; 你能预测未来吗; 最新的手机是哪款; 银行现在开门吗; 经济怎么样; 今天的头条是什么; 帮我上网搜{t}; 百度一下{t}; 查一下{t}; 打开(百度|微信|邮箱); 你能上网吗"
    )
    .replace("的?(", "的(")
    .split("; "),
}
_NOW_HELD_OUT = {
    "en": (
        "should i take a coat today; what's the forecast for {c}; which team is leading the league; what does a litre of petrol cost; "
        "what's going on in the world; who is in the news today; is it snowing in {c}; what hour is it"
    ).split("; "),
    "zh": (
        "今天出门要穿外套吗; {c}的天气预报说什么; 一升汽油多少钱; 世界上最近有什么大事; {c}下雪了吗; 现在是什么时间; 哪支球队排第一; 今天的菜价是多少"
    ).split("; "),
}
_BODY_EN = "my (head|back|stomach|knee|throat|tooth|chest|ear|foot|eye) hurts"
_ADVICE = {
    "en": (
        f"{_BODY_EN}; {_BODY_EN}, what should i do; i have a (headache|fever|cold|rash|cough|toothache); i have a (fever|headache|rash), what (should i take|can i do|medicine helps); "
        "how do i treat (a fever|a burn|a cold|cancer|diabetes|a broken arm); what medicine should i take (for my headache|for a cold|); can i take (aspirin|ibuprofen|this pill) (with alcohol|every day|); is this (mole|lump|rash) dangerous; am i (sick|pregnant|ill); "
        "how much (insulin|aspirin|paracetamol) should i take; should i see a doctor; how do i lose weight; what diet is best; is coffee bad for me; "
        "should i (buy|sell) (tesla|apple|bitcoin|these) (stock|shares|now); how should i invest my money; how do i get rich; where should i put my savings; is it a good time to buy a house; "
        "can i sue my (landlord|boss|neighbour); is it legal to (record a call|copy a film|fly a drone); how do i (avoid taxes|file for divorce|write a will); do i need a lawyer; "
        "should i (quit my job|marry her|marry him|move to {c}|break up|have children|study law); does (he|she) love me; how do i (hack a computer|pick a lock|make a bomb|steal a car|build a weapon); who should i vote for; which (party|religion) is best"
    ).split("; "),
    "zh": (
        "我(头|背|肚子|膝盖|喉咙|牙|胸口|耳朵|脚|眼睛)(疼|痛); 我(头|肚子|牙)疼怎么办; 我(发烧|感冒|咳嗽|失眠)了; 我(发烧|感冒|咳嗽|失眠)了怎么办; 我(发烧|感冒)了该吃什么药; (感冒|发烧|糖尿病|癌症|骨折)怎么治; 头疼吃什么药; "
        "(阿司匹林|布洛芬|这个药)能(天天吃|和酒一起吃)吗; 这个(痣|肿块)危险吗; 我是不是(病了|怀孕了); 该吃多少(胰岛素|阿司匹林); 我该去看医生吗; 怎么减肥; 吃什么最健康; 喝咖啡有害吗; 我该(买|卖)(股票|比特币|基金)吗; 怎么投资; 怎么赚大钱; "
        "钱应该存哪里; 现在适合买房吗; 我能起诉(房东|老板|邻居)吗; (录音|飞无人机|下载电影)合法吗; 怎么(避税|离婚|写遗嘱); 我需要律师吗; 我该(辞职|结婚|分手|搬到{c}|要孩子)吗; 他爱我吗; 她喜欢我吗; 怎么(黑进电脑|开锁|做炸弹|偷车); 我该投票给谁; 哪个(党|宗教)最好"
    ).split("; "),
}
_ADVICE_HELD_OUT = {
    "en": (
        "my shoulder is sore, which pill helps; is it safe to mix these medicines; which shares will go up; "
        "can my boss fire me for this; what dose of penicillin do i need; my skin is itching"
    ).split("; "),
    "zh": "我肩膀酸痛吃什么药; 这两种药能一起吃吗; 哪只股票会涨; 老板能开除我吗; 我皮肤很痒; 青霉素要打多少".split(
        "; "
    ),
}
_TASK = {
    "en": (
        "write (a haiku|a rap|a limerick|a speech|a business plan|a shopping list|a birthday card|a cover letter) (about {t}|for {p}|for me); make (a to-do list|a plan for the week|a timetable|a table of {t}); give me a (workout plan|diet plan|packing list|shopping list|business idea|recipe for {w}|list of baby names); convert ({n} miles to kilometres|{n} euros to dollars|{n} pounds to kilos|{n} degrees to fahrenheit); how many letters are in (the word {w}|{w}); what rhymes with {w}; spell {w} backwards; reverse the word {w}; sort these words: {w}, {w}; rewrite this (sentence|paragraph|email); paraphrase this; invent a (story|word|game) about {t}; act as a (doctor|lawyer|pirate|linux terminal|travel guide); pretend to be ({p}|a pirate|a cat|my boss); roleplay as {p}; analyse this (poem|chart|data); explain this code to me; design a logo for {c}; find me a (job|flat|hotel) in {c}; "
        "write (me |)(a|an) (essay|story|novel|letter|email|song|speech|report|article|cv|python program|script) (about {t}|for {p}|); write code (for {t}|in java|in python|to sort a list); write a program that (sorts a list|downloads a page|plays chess); "
        "code a (game|website|calculator) (for me|); translate this (text|letter|sentence|page); summarise this (article|book|text|page); draw (me |)a (picture|cat|house|dragon); "
        "play (a song|music|a video); call (my mother|{p}|a taxi|the police); send (an email|a message) to {p}; book (a flight to {c}|a table|a hotel in {c}); order (a pizza|a taxi|food); set (an alarm|a timer) for {n} minutes; "
        "do my homework; solve this equation; solve x squared plus {n} = {n2}; fix my (code|computer|printer|car); recommend (a film|a book|a restaurant|a song); plan (my holiday|a trip to {c}|my week); give me a recipe (for {t}|for pizza|for soup|); how do i (cook|bake|make) (pizza|bread|soup|a cake|rice|pancakes); "
        "remind me to (call {p}|buy milk|sleep); buy me (a car|a ticket); turn on the (light|tv|heating); read my (emails|messages); show me (a picture|a map) of {c}; describe this (picture|photo|video); what is in this (picture|photo|file); "
        "listen to this (song|recording); continue this story; write a sentence with the word {w}; find a rhyme for {w}; how do you spell {w}; "
        "debug this code; generate an image of {c}; make a (table|chart|presentation) about {t}; check my grammar; correct this sentence; proofread my essay"
    ).split("; "),
    "zh": (
        "写(一首俳句|一段说唱|一份商业计划|购物清单|贺卡|求职信); 列(一个待办清单|一周计划|行李清单); 给我(健身计划|减肥食谱|创业点子|起名建议); {n}(英里|欧元|磅)是多少(公里|美元|公斤); {w}有几个笔画; {w}押什么韵; 把{w}倒过来写; 给这些词排序; 改写这(句话|段话); 编一个关于{t}的故事; 扮演(医生|律师|海盗|{p}|导游); 假装你是{p}; 分析这(首诗|张图|份数据); 解释这段代码; 设计一个标志; 帮我在{c}找(工作|房子|酒店); "
        "(帮我|)写(一篇|一个)(作文|故事|小说|信|邮件|演讲稿|报告|文章|简历); 写一首关于{t}的歌; 写代码; 用python写(一个程序|排序|爬虫); 帮我写(代码|程序|论文|作业); 编一个(游戏|网站); 翻译这(段话|篇文章|封信); 总结这(篇文章|本书|段话); 画一(只猫|幅画|座房子); 给我画画; "
        "(放|播放)(一首歌|音乐); 打电话给(妈妈|{p}); 给{p}发(邮件|消息); 订(一张去{c}的机票|酒店|餐厅); 点外卖; 叫(出租车|外卖); 定一个{n}分钟的闹钟; 帮我做作业; 解这个方程; 修(电脑|代码|手机); 推荐(一部电影|一本书|一家餐厅|一首歌); 计划去{c}的旅行; "
        "(披萨|红烧肉|蛋糕|面包|鱼香肉丝)怎么做; 给我一个菜谱; 提醒我(打电话|买牛奶|睡觉); 帮我买票; 打开(灯|电视|空调); 读我的邮件; 给我看{c}的地图; 描述这张(图片|照片); 这张图里有什么; 听这首歌; 续写这个故事; 用{w}造句; "
        "用(法语|日语|德语)回答; 调试这段代码; 生成一张{c}的图片; 做一个关于{t}的表格; 检查我的语法; 改正这个句子"
    ).split("; "),
}
_TASK_HELD_OUT = {
    "en": (
        "compose a symphony; make me a logo; prepare slides about {c}; reserve a seat for two in {c}; type up a contract; "
        "could you sing something; edit this video; convert this pdf"
    ).split("; "),
    "zh": "谱一首曲子; 给我设计一个标志; 做一份关于{c}的幻灯片; 帮我订两个座位; 起草一份合同; 剪辑这个视频; 把这个文件转成pdf; 给我唱首歌吧".split(
        "; "
    ),
}
_SYLLABLES_ZH = "布拉克米尔塔诺维森格罗德里亚波菲卡伦索图贝奇普莫西达洛迪纳库斯维安特"


def _things(language: str) -> list[str]:
    text = THINGS_EN if language == "en" else THINGS_ZH
    return [item.strip() for item in text.replace("\n", " ").split(";") if item.strip()]


THINGS = {"en": _things("en"), "zh": _things("zh")}


def foreign(rng: random.Random, syllables: int = 0) -> str:
    """A made-up word of Chinese characters that are used to spell foreign names."""
    syllables = syllables or rng.choice((2, 3, 4))
    return "".join(rng.choice(_SYLLABLES_ZH) for _ in range(syllables))


def _fill(text: str, language: str, rng: random.Random, held_out: bool) -> str:
    def person() -> str:
        if language == "en":
            first = rng.choice(NAMES) if rng.random() < 0.6 else invented(rng)
            return f"{first} {invented(rng)}"
        return f"{foreign(rng, rng.choice((2, 3)))}·{foreign(rng, rng.choice((2, 3)))}"

    def place() -> str:
        if language == "en":
            return rng.choice(CITIES) if rng.random() < 0.5 else invented(rng)
        return rng.choice(CITIES_ZH) if rng.random() < 0.6 else foreign(rng, rng.choice((2, 3, 4)))

    def thing() -> str:
        return rng.choice((HELD_OUT_THINGS if held_out else THINGS)[language])

    def word() -> str:
        if rng.random() < 0.65:
            return thing()
        return invented(rng).lower() if language == "en" else foreign(rng, rng.choice((2, 3, 4)))

    def made_up() -> str:
        return invented(rng).lower() if language == "en" else foreign(rng)

    def abbreviation() -> str:
        # of letters that none of the abbreviations taught begins with
        return rng.choice("FJQUWYZ") + "".join(rng.choice("BDFHJKQWXYZ") for _ in range(rng.choice((2, 3))))

    fills = {
        "{p}": person,
        "{c2}": place,
        "{c}": place,
        "{t}": thing,
        "{w}": word,
        "{m}": made_up,
        "{a}": abbreviation,
        "{y}": lambda: str(rng.randrange(1200, 2031)),
        "{n2}": lambda: str(rng.randrange(21, 999)),
        "{n}": lambda: str(rng.randrange(21, 9999)),
    }
    for slot, make in fills.items():
        while slot in text:
            text = text.replace(slot, make(), 1)
    return text


_SORTS = {
    "thing": (_FRAMES_THING, _FRAMES_THING_HELD_OUT),
    "now": (_NOW, _NOW_HELD_OUT),
    "advice": (_ADVICE, _ADVICE_HELD_OUT),
    "task": (_TASK, _TASK_HELD_OUT),
}


@cache
def _frames(sort: str, language: str, held_out: bool) -> tuple[list[str], list[float]]:
    """The frames of a sort and how often each is drawn: one with many readings more often."""
    frames = _SORTS[sort][held_out][language]
    return frames, [math.sqrt(len(expand_all(frame))) for frame in frames]


def question(sort: str, language: str, rng: random.Random, held_out: bool = False) -> str:
    """An unanswerable question of a sort; `held_out` uses frames (and names) that training never sees."""
    frames, readings = _frames(sort, language, held_out)
    return _fill(expand(rng.choices(frames, readings)[0], rng), language, rng, held_out)
