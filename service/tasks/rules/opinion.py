"""Words of praise and complaint, and the form of a request: what a sentence encoder hears least of all.

An encoder takes "谢谢，问题解决了" for a complaint, because of the problem, and a question about quality for praise.
Here words are counted; a negation just before one turns it, so that the absence of a defect is praise. Words in a
clause that asks or supposes something say nothing of the writer's own opinion ("如果不满意可以退吗", "哪家好吃"),
unless the question is a reproach ("你们到底管不管"). Each pattern is an alternation of words with nothing repeated, so
its time grows with the length of the text alone.
"""

import re
from dataclasses import dataclass

_PRAISE = (
    "好评|满意|喜欢|推荐|点赞|给力|惊艳|耐心|周到|贴心|热情|感谢|谢谢|多谢|感激|辛苦|太棒|很棒|真棒|超棒|划算|值得|值了|超值|回购|"
    "不错|好吃|好喝|好看|好用|很香|太香|舒服|舒适|干净|整洁|安静|耐用|惬意|惊喜|开心|高兴|幸福|快乐|可爱|优雅|丰盛|流畅|清晰|"
    "放心|顺手|没得挑|没得说|没话说|绝佳|完美|爱了|yyds|绝绝子|超好|超赞|真好|人很好|合不拢嘴|帮了大忙|搞定|很快|真快|超快|"
    "又快又|上岸|中奖|骄傲|大推|专业|漂亮|完好|扎实|严实|名不虚传|不愧|闭眼入|物超所值|好多了|太美|真美|赢了|夺冠|"
    "多亏|幸亏有|麻利|值这个价|修好了|值回票价|省心|对得起这|亲切|地道|正宗|入味|给得实在|量很足|分量足|停不下来|泪目|太绝|绝了|"
    "很准时|准时送|很到位|讲得很清楚|感恩|有求必应|良心商家|业界良心|一如既往"
)
_COMPLAINT = (
    "差评|太差|很差|真差|差劲|差远|太烂|很烂|真烂|垃圾|投诉|骗|假货|太坑|坑人|坑爹|后悔|失望|糟|恶劣|没人理|不理|爱答不理|推卸|踢皮球|"
    "推来推去|敷衍|迟迟|拖了|卡顿|闪退|死机|掉线|断网|太慢|很慢|慢得|太贵|难吃|难喝|难看|难用|馊|破客服|气死|气得|无语|真是服了|霸王|"
    "店大欺客|凭什么|到底|莫名其妙|白跑|白等|一问三不知|说瞎话|12315|乱收费|乱扣|没人接|没人回|没回复|打不通|不给退|骂人|不管|"
    "坏了|坏的|破损|压烂|异味|噪音|漏水|吵|脏|硌|咸|瞌睡|拖沓|拉胯|堕落|一无是处|上当|诈骗|谁买谁|别买|不要买|不会再|再也不|"
    "难受|(?<!麻)烦|(?:太|真|好|很|更)麻烦|麻烦死|心累|好累|崩溃|破防|毁灭|渣|倒霉|泡汤|被偷|丢了|谷底|要命|真的会谢|emo|栓Q|日子没法过|臭|冷漠|扯皮|推诿|黑心|缩水|变质|"
    "没人管|全毁|毁了|没影|没了下文|不了了之|[让叫]我再等|白花钱|都[让叫]我等|等于没有|形同虚设|形同摆设|石沉大海|杳无音信|动静都没有|"
    "消息都没有|心态崩|崩了|[是都还全](?:凉|冷|馊|生)的|没熟|爱理不理|答非所问|变形|掉色|褪色|起球|开裂|开胶|脱胶|掉漆|生锈|发烫|松动|串味|"
    "断裂|掉渣|起皮|过敏|卡壳|闪个不停|好欺负|碎了|压扁|没有人[理管接回]|不顺(?!手|路|便)|耍人"
)
_NOT = "(?:不|没|没有|毫无|无|非|别|未|不是|不太|不够|不怎么|不是很|没有任何|没什么|没有什么|没那么|并不)"
_WORD = re.compile(
    f"(?P<negation>{_NOT})?(?:(?P<praise>{_PRAISE})|(?P<complaint>{_COMPLAINT}))", re.IGNORECASE
)
_CLAUSE = re.compile("[^，,。！？!?；;、…\n]*[^\n]?")
# The mark a clause ends in. A question's own mark stays, and so does what makes an exclamation of "吗！".
_END = "，,。；;、… ~～\t"
# A clause that asks or supposes, and one whose question is a reproach. Somebody ("有人") is asked for only where a
# clause begins with it and goes on to what that person knows or has tried, or ends in "没有" or "不"; what somebody
# says is not the writer's, and "没有人不" is left to the encoder.
_ASKS = re.compile(
    "[？?]$|吗[~～ ]*$|谁知道|有没有|(?<!没)有什么|请问|(?<!无论)(?<!不管)如何|是否|"
    "哪[里儿些家个款](?![都也])|会不会|是不是|好不好|能不能|没有?人不|"
    "^求|求.{0,8}推荐|如果|要是|万一|假如|倘若|"
    "^(?:大家|想问|问问|问一?下|这里|群里)?有人(?:知道|了解|懂|[吃用买去住坐试看喝玩]过|.{0,12}(?:没有?|不)$)|"
    "有人(?:.{0,6}推荐|说(?![瞎谎假脏]))"
)
# "好吃的话" supposes; "骗人的话" and "说了些好听的话" are words that somebody says.
_SUPPOSES = re.compile("(?<!感谢|谢谢|感激|骗人|骂人|敷衍)的话[！!]?$")
_WORDS_SAID = re.compile("[说讲骂][了过些的]|些|[全都尽净]是|满[嘴口]")
_REPROACHES = re.compile(
    "到底|究竟|这不是|不就是|凭什么|难道|为什么|为啥|怎么[这还又老总不没]|什么时候|还(?:能|想|敢|要|不)|谁(?:敢|还)|觉得.{0,6}好|管不管|什么[态意]"
)
_NO_DENIAL = re.compile("这不是|不就是")  # "这不是骗人吗" says that it is
_REQUEST = re.compile(
    "请问|吗[？?]?|怎么|如何|哪里|哪儿|哪些|什么时候|多久|多少|几点|几天|几号|能不能|可不可以|可以.{0,12}[吗么]|有没有|是否|"
    "麻烦|请帮|帮我|我想|我要|想问|求|请转|咨询|查询|[？?]"
)


@dataclass(frozen=True)
class Opinion:
    """How many words of a text praise and complain, and whether it asks for something."""

    praise: int
    complaint: int
    is_request: bool


def opinion_of(text: str) -> Opinion:
    """What the words of ``text``, in simplified characters, say."""
    praise = complaint = 0
    for clause in _CLAUSE.findall(text):
        if _asks(clause.rstrip(_END)):
            if not _REPROACHES.search(clause):
                continue
            clause = _NO_DENIAL.sub("", clause)
        for match in _WORD.finditer(clause):
            if (match["praise"] is not None) != (match["negation"] is not None):
                praise += 1
            else:
                complaint += 1
    return Opinion(praise, complaint, bool(_REQUEST.search(text)))


def _asks(clause: str) -> bool:
    """Whether a clause, without its end mark, asks or supposes something."""
    if _SUPPOSES.search(clause) and not _WORDS_SAID.search(clause):
        return True
    return _ASKS.search(clause) is not None
