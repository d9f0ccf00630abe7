"""Words of praise and complaint, and the form of a request: what a sentence encoder hears least of all.

An encoder takes "谢谢，问题解决了" for a complaint, because of the problem, and a question about quality for praise.
Here words are counted; a negation just before one turns it. Each pattern is an alternation of words with nothing
repeated, so its time grows with the length of the text alone.
"""

import re
from dataclasses import dataclass

_PRAISE = (
    "好评|满意|喜欢|推荐|点赞|给力|惊艳|耐心|周到|贴心|热情|感谢|谢谢|多谢|感激|辛苦|太棒|很棒|真棒|超棒|划算|值得|值了|超值|回购|"
    "不错|好吃|好喝|好看|好用|很香|太香|舒服|舒适|干净|整洁|安静|耐用|惬意|惊喜|开心|高兴|幸福|快乐|可爱|优雅|丰盛|流畅|清晰|"
    "放心|顺手|没得挑|没得说|没话说|绝佳|完美|爱了|yyds|绝绝子|超好|超赞|真好|人很好|合不拢嘴|帮了大忙|搞定|很快|真快|超快|"
    "又快又|上岸|中奖|骄傲|大推|专业|漂亮|完好|扎实|严实|名不虚传|不愧|闭眼入|物超所值|好多了|太美|真美|赢了|夺冠|"
    "多亏|幸亏有|麻利|值这个价|修好了|值回票价|省心"
)
_COMPLAINT = (
    "差评|太差|很差|真差|差劲|差远|太烂|很烂|真烂|垃圾|投诉|骗|假货|太坑|坑人|坑爹|后悔|失望|糟|恶劣|没人理|不理|爱答不理|推卸|踢皮球|"
    "推来推去|敷衍|迟迟|拖了|卡顿|闪退|死机|掉线|断网|太慢|很慢|慢得|太贵|难吃|难喝|难看|难用|馊|破客服|气死|气得|无语|真是服了|霸王|"
    "店大欺客|凭什么|到底|莫名其妙|白跑|白等|一问三不知|说瞎话|12315|乱收费|乱扣|没人接|没人回|没回复|打不通|不给退|骂人|不管|"
    "坏了|坏的|破损|压烂|异味|噪音|漏水|吵|脏|硌|咸|瞌睡|拖沓|拉胯|堕落|一无是处|上当|诈骗|谁买谁|别买|不要买|不会再|再也不|"
    "难受|烦|心累|好累|崩溃|破防|毁灭|渣|倒霉|泡汤|被偷|丢了|谷底|要命|真的会谢|emo|栓Q|日子没法过|臭|冷漠|扯皮|推诿|黑心|缩水|变质|"
    "没人管|全毁|毁了|没影|没了下文|不了了之|[让叫]我再等|白花钱"
)
_NOT = "(?:不|没|没有|毫无|无|非|别|未|不是|不太|不够|不怎么|不是很|没有任何|没什么|没那么|并不)"
_WORD = re.compile(
    f"(?P<negation>{_NOT})?(?:(?P<praise>{_PRAISE})|(?P<complaint>{_COMPLAINT}))", re.IGNORECASE
)
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
    for match in _WORD.finditer(text):
        if (match["praise"] is not None) != (match["negation"] is not None):
            praise += 1
        else:
            complaint += 1
    return Opinion(praise, complaint, bool(_REQUEST.search(text)))
