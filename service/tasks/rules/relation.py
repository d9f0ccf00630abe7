"""Relations by rule: the most frequent relations of persons, organisations, places and works in Chinese sentences.

A rule is a regular expression over the masked text (``masked_text``), in which ``<s>`` and ``<o>`` are the
subject and the object. Each matches within one sentence; nothing is inferred from several, pronouns are not
resolved, and other wordings are not found. ``docs/tasks.md`` has the predicates, and the accuracy of the rules on
sentences that were not used to write them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from service.tasks.masked_text import ORG, PERSON, PLACE, SENTENCE_ENDS, TIME, WORK, MaskedText
from service.tasks.rules.entities import Entity


@dataclass(frozen=True)
class RelationMatch:
    """``object`` is the ``predicate`` of ``subject``."""

    subject: Entity
    predicate: str
    object: Entity


def _gap(without: str, most: int) -> str:
    """The fewest characters, within one sentence, none of them ``without``."""
    return f"[^{SENTENCE_ENDS}{without}]{{0,{most}}}?"


P, O, L, T, W = PERSON, ORG, PLACE, TIME, WORK  # noqa: E741  one letter each, as in the rules
_BORN = "(?:出生于|出生在|生于|诞生于|降生于)"
_FOUNDED = "(?:创办|创立|创建|创设|开办|成立|组建|建立|设立|始建)"
# Atomic: "董事长" before a name is not "董事" with no name behind it.
_TITLE = (
    "(?>董事长|董事|总裁|首席[^，。、的]{1,3}官|首席[^，。、的]{1,4}家|[Cc][EeTtFfOo][Oo]|总经理|经理|校长|院长|行长|会长|理事长|"
    "秘书长|主席|主任医师|主任护师|主任|书记|部长|司长|厅长|局长|处长|科长|所长|馆长|社长|站长|台长|团长|总监|主编|总编辑|总编|"
    "主教练|教练|主帅|队长|教授|讲师|研究员|院士|发言人|负责人|工程师|合伙人|分析师|医生|医师|护士长|护士|药师|教师|老师|"
    "记者|主持人|律师|法官|检察官|机长|船长|司令员|司令|政委|总理|总统|总干事|理事)"
)
_STATE_TITLE = (
    f"(?>总统|总理|首相|国王|女王|国家主席|主席|外长|防长|财长|国务卿|议长|省长|市长|县长|区长|州长|镇长|"
    f"[^{SENTENCE_ENDS}，、的{P}{O}{L}]{{1,4}}(?:部长|大臣)|特首|行政长官|市委书记|省委书记|县委书记|(?:驻华)?大使)"
)
# What stands between a body and the title in it: "感染内科", "计算机系".
_DEPARTMENT = (
    f"(?:[^{SENTENCE_ENDS}，、：的在是和与{P}{O}{L}{T}]{{1,10}}?"
    "(?:科|系|室|部|处|局|司|院|所|中心|组|团队|委员会|病区|门诊|事业群))?"
)
_BEFORE_TITLE = (
    "的?(?:现任|前任|前|原|时任|新任)?(?:党委|创始人[兼、])?"
    "(?:副|总|常务|执行|名誉|代|高级|资深|助理|首席){0,2}"
)
_AFTER_TITLE = f"(?:[兼、和]?(?:副|总|执行|高级)?{_TITLE}){{0,2}}"
_HOLDS = (
    "(?:曾|现|先后)?(?:是|任|为|担任|出任|就任|当选为|当选|接任|升任|兼任|调任|转任|任职|系|"
    "[被获受]?(?:任命|聘任|聘|选|推选|推举)为)(?:了|过)?"
)
_SPOUSE = "(?:妻子|丈夫|夫人|太太|老公|老婆|爱人|配偶)"
_MARRY = "(?:结婚|领证|成婚|完婚|婚礼|结为夫[妻妇]|喜结连理)"
_FOUNDER = "的?(?:联合|主要)?(?:创始人|创办人|创立者)"
_WROTE = "(?:创作|撰写|写作|著|写|出版|发表|编写|写出)(?:了|的|过|有|成|下)?"
_IS = "(?:是|为|叫|，)?"
# "父亲是物理学家杨武之", but not "父亲是李明的老师".
_IS_PERSON = f"(?:(?:是|为|叫|名叫|，)[^{SENTENCE_ENDS}，{P}{O}]{{0,6}}?)?(?P<o>{P})(?!的)"
# "和主持人乙": who the other is stands before the name.
_AND = f"(?:和|与|同|跟|、)[^{SENTENCE_ENDS}，、的在{P}{O}{L}{T}{W}]{{0,6}}?"
_MOVES = "[搬迁移][到至往入]了?"
_NTH_CHILD = "(?:[长次小大独养][生]?|独生|[二三四五]|第[一二三四]个)?"
_BOOK = (
    "(?:作品|小说|著作|代表作|名著|散文集?|杂文集?|诗集?|诗歌|剧本|专著|名篇|新书|新作|回忆录|传记|童话|文章)"
)

_RULES: tuple[tuple[str, str], ...] = (
    ("出生地", f"(?P<s>{P}){_gap(P, 20)}{_BORN}(?P<o>{L})"),
    ("出生地", f"(?P<s>{P}){_gap(P, 6)}{T}(?:出)?生于(?P<o>{L})"),
    ("出生地", f"(?P<s>{P})(?:的|，)?(?:出生地|家乡|老家)[是在为](?P<o>{L})(?![的{O}])"),
    ("出生地", f"{_BORN}(?P<o>{L})的{_gap(P, 8)}(?P<s>{P})"),
    ("出生日期", f"(?P<s>{P}){_gap(P + T, 8)}(?P<o>{T})(?:在|于)?{L}?(?:出生|生于|诞生|降生)"),
    ("出生日期", f"(?P<s>{P}){_gap(P, 8)}{_BORN}(?P<o>{T})"),
    ("出生日期", f"(?P<s>{P})[（(](?P<o>{T})[-—－–~～至]"),
    ("毕业院校", f"(?P<s>{P}){_gap(P, 20)}毕业[于自](?P<o>{O})"),
    ("毕业院校", f"(?P<s>{P}){_gap(P, 10)}从(?P<o>{O}){_gap(P + O, 8)}毕业"),
    ("毕业院校", f"(?P<s>{P}){_gap(P, 10)}(?:本科|硕士|博士|大学)就读于(?P<o>{O})"),
    ("毕业院校", f"(?P<s>{P}){_gap(P + O, 16)}(?:获|获得|取得|拿到)了?(?P<o>{O}){_gap(P + O + '，', 8)}学位"),
    ("毕业院校", f"(?P<s>{P})是(?P<o>{O}){_gap(P + O + '，', 6)}(?:毕业生|校友|毕业的)"),
    ("毕业院校", f"(?P<o>{O}){_gap(P + O + '，', 4)}毕业的{_gap(P + O + '，', 4)}(?P<s>{P})"),
    ("毕业院校", f"毕业[于自](?P<o>{O}){_gap(P + O, 6)}的{_gap(P + O, 4)}(?P<s>{P})"),
    ("任职", f"(?P<o>{O}){_DEPARTMENT}{_BEFORE_TITLE}{_TITLE}{_AFTER_TITLE}(?P<s>{P})"),
    ("任职", f"(?P<o>{O})部?长(?P<s>{P})"),
    ("任职", f"(?P<o>{O}){_DEPARTMENT}的?(?P<s>{P}){_TITLE}"),
    ("任职", f"(?P<o>{L}){_BEFORE_TITLE}{_STATE_TITLE}(?P<s>{P})"),
    ("任职", f"(?P<o>{O})[^{SENTENCE_ENDS}，、的{P}{O}{L}]{{1,4}}(?:部长|大臣)(?P<s>{P})"),
    ("任职", f"(?P<o>{L})的?(?P<s>{P})(?:总统|总理|首相|国家主席|市长|省长|外长)"),
    ("任职", f"(?P<s>{P}){_gap(P + O, 4)}{_HOLDS}(?P<o>{O}){_DEPARTMENT}{_BEFORE_TITLE}{_TITLE}(?!{P})"),
    ("任职", f"(?P<s>{P}){_gap(P + O, 4)}{_HOLDS}(?P<o>{L}){_BEFORE_TITLE}{_STATE_TITLE}(?!{P})"),
    ("任职", f"(?P<s>{P})[，,（(](?P<o>{O}){_DEPARTMENT}{_BEFORE_TITLE}{_TITLE}(?!{P})"),
    ("任职", f"(?P<s>{P}){_gap(P, 16)}(?:就职于|任职于|供职于|效力于|任教于|执教于|加入|加盟|入职)了?(?P<o>{O})"),
    ("任职", f"(?P<s>{P}){_gap(P, 16)}(?:[在到入]|{T})(?P<o>{O})(?:工作|任职|任教|就职|上班|执教|从事)"),
    ("创始人", f"(?P<o>{P}){_gap(P, 14)}{_FOUNDED}了?{_gap(O, 4)}(?P<s>{O})"),
    ("创始人", f"(?P<o>{P}){_gap(P, 10)}是(?P<s>{O}){_FOUNDER}"),
    ("创始人", f"(?P<s>{O}){_FOUNDER}(?:[兼、]{_BEFORE_TITLE}{_TITLE})?{_IS}(?P<o>{P})"),
    ("创始人", f"(?P<s>{O}){_gap(O + P, 20)}，创始人(?:是|为|叫|名叫)(?P<o>{P})(?!的)"),
    ("创始人", f"(?P<s>{O}){_gap(O + P, 8)}由(?P<o>{P}){_gap(P + O, 10)}{_FOUNDED}"),
    ("成立日期", f"(?P<s>{O}){_gap(O + T, 8)}{_FOUNDED}于(?P<o>{T})"),
    ("成立日期", f"(?P<s>{O}){_gap(O + T, 8)}(?P<o>{T}){_gap(O + T, 8)}{_FOUNDED}(?!了?{_gap(O, 4)}{O})"),
    ("成立日期", f"(?P<o>{T}){_gap(O + T, 10)}{_FOUNDED}了?{_gap(O + T, 4)}(?P<s>{O})"),
    ("总部地点", f"(?P<s>{O}){_gap(O, 20)}总部(?:位于|设在|设于|在|坐落于|落户|迁至|迁往)(?P<o>{L})"),
    ("总部地点", f"(?P<s>{O}){_gap(O + L, 8)}总部{_gap(O + L, 6)}(?:从{L})?{_gap(O + L, 3)}{_MOVES}(?P<o>{L})"),
    ("总部地点", f"总部(?:位于|设在|设于|在|坐落于)(?P<o>{L})的{_gap(O + P, 6)}(?P<s>{O})"),
    ("位于", f"(?P<s>[{O}{L}]){_gap(O + L + '部', 12)}(?:位于|坐落于|坐落在|座落于|地处)(?P<o>{L})"),
    ("首都", f"(?P<s>{L})的?首都(?:是|为|叫|，|在|设在|位于|定在|定于)?(?P<o>{L})"),
    ("首都", f"(?P<o>{L})(?:是|为|作为)(?P<s>{L})的?首都"),
    ("省会", f"(?P<s>{L})的?(?:省会|首府){_IS}(?P<o>{L})"),
    ("省会", f"(?P<o>{L})(?:是|为|作为)(?P<s>{L})的?(?:省会|首府)"),
    ("作者", f"(?P<s>{W})》?的?(?:原?作者|编剧){_IS}(?P<o>{P})"),
    ("作者", f"(?P<o>{P}){_gap(P + W, 8)}{_WROTE}{_gap(P + W, 10)}(?P<s>{W})"),
    ("作者", f"(?P<s>{W})》?{_gap(P + W, 6)}(?:是|为)(?P<o>{P}){_gap(P + W + '，', 12)}{_BOOK}"),
    ("作者", f"(?P<s>{W})》?{_gap(P + W, 6)}由(?P<o>{P}){_gap(P + W + '，', 6)}(?:创作|撰写|所写|所著|编写|写)"),
    ("作者", f"(?P<s>{W})》?{_gap(P + W, 6)}出自{_gap(P + W, 6)}(?P<o>{P})"),
    ("作者", f"(?P<o>{P})的?{_gap(P + W + '，', 10)}{_BOOK}{_gap(P + W + '，', 2)}(?P<s>{W})"),
    ("配偶", f"(?P<s>{P})的?{_SPOUSE}{_IS_PERSON}"),
    ("配偶", f"(?P<s>{P}){_gap(P, 20)}，(?:其|[他她]的?)?{_SPOUSE}{_IS_PERSON}"),
    ("配偶", f"(?P<o>{P})是{_gap(P + '和与，', 14)}(?P<s>{P})的?{_gap(P, 3)}{_SPOUSE}"),
    ("配偶", f"(?P<s>{P}){_AND}(?:妻子|丈夫)?(?P<o>{P})(?:夫妇|夫妻|{_gap(P, 2)}是(?:一对)?夫[妻妇])"),
    ("配偶", f"(?P<s>{P}){_AND}(?:新娘|新郎|女友|男友)?(?P<o>{P}){_gap(P, 15)}{_MARRY}"),
    ("配偶", f"(?P<s>{P}){_gap(P, 8)}(?:嫁给|娶)了?(?P<o>{P})"),
    ("父亲", f"(?P<s>{P})的?(?:父亲|爸爸|生父){_IS_PERSON}"),
    ("父亲", f"(?P<o>{P})是{_gap(P + '和与，', 14)}(?P<s>{P})的?(?:父亲|爸爸|生父)"),
    ("母亲", f"(?P<s>{P})的?(?:母亲|妈妈|生母){_IS_PERSON}"),
    ("母亲", f"(?P<o>{P})是{_gap(P + '和与，', 14)}(?P<s>{P})的?(?:母亲|妈妈|生母)"),
    ("子女", f"(?P<s>{P})(?:之|的)?{_NTH_CHILD}(?:儿子|女儿|子|女){_IS_PERSON}"),
    ("子女", f"(?P<o>{P})是{_gap(P + '和与，', 14)}(?P<s>{P})(?:之|的)?{_NTH_CHILD}(?:儿子|女儿|子|女)(?![友婿儿])"),
    ("母公司", f"(?P<s>{O})是(?P<o>{O})(?:的|旗下|全资|控股)*(?:子公司|分公司)"),
    ("母公司", f"(?P<o>{O})是(?P<s>{O})的?母公司"),
    ("母公司", f"(?P<s>{O})的?母公司{_IS}(?P<o>{O})"),
    ("母公司", f"(?P<o>{O})旗下的?(?P<s>{O})"),
    ("母公司", f"(?P<s>{O}){_gap(O, 4)}(?:隶属于|隶属|归属于)(?P<o>{O})"),
    ("母公司", f"(?P<o>{O})(?:的|旗下|全资|控股)+子公司(?P<s>{O})"),
)  # fmt: skip
# In a lookahead, so that matches may overlap: "甲的妻子是乙，乙的父亲是丙".
_COMPILED = tuple((predicate, re.compile(f"(?={pattern})")) for predicate, pattern in _RULES)

PREDICATES = tuple(dict.fromkeys(predicate for predicate, _ in _RULES))


def relations_of(masked: MaskedText) -> list[RelationMatch]:
    """The relations that the rules find, each once, in the order of their subjects."""
    relations = dict.fromkeys(_matches(masked))
    return sorted(relations, key=lambda relation: (relation.subject.start, relation.object.start))


def _matches(masked: MaskedText) -> Iterator[RelationMatch]:
    for predicate, pattern in _COMPILED:
        for match in pattern.finditer(masked.letters):
            subject = masked.entities[match.start("s")]
            object_ = masked.entities[match.start("o")]
            if subject is None or object_ is None or subject.text == object_.text:
                continue
            # A surname alone is a name of which LAC took away the rest: "李" "家" "超下" "星期".
            if all(one.type != "PERSON" or len(one.text) > 1 for one in (subject, object_)):
                yield RelationMatch(subject, predicate, object_)
