"""What the rules read in sentences as LAC segments them today: wordings that must match, and that must not."""

from __future__ import annotations

import pytest

from service.engines.lac import Lac
from service.tasks.masked_text import mask
from service.tasks.rules.event import events_of
from service.tasks.rules.relation import relations_of


@pytest.fixture(scope="module")
def lac() -> Lac:
    return Lac()


@pytest.mark.parametrize(
    ("text", "relations"),
    [
        ("武汉同济医院心血管内科主任汪道文提醒患者按时服药。", [("汪道文", "任职", "武汉同济医院")]),
        ("上海市第六人民医院的王伟医生给李明做了手术。", [("王伟", "任职", "上海市第六人民医院")]),
        ("南京大学历史系教授高华的著作再版。", [("高华", "任职", "南京大学")]),
        ("中兴通讯高级副总裁王翔介绍了进展。", [("王翔", "任职", "中兴通讯")]),
        ("李宁被任命为中国银行行长。", [("李宁", "任职", "中国银行")]),
        ("陈明，浙江大学数学科学学院副教授，获得奖项。", [("陈明", "任职", "浙江大学数学科学学院")]),
        (
            "德国总理朔尔茨的妻子是政治家恩斯特。",
            [("朔尔茨", "任职", "德国"), ("朔尔茨", "配偶", "恩斯特")],
        ),
        ("张伟获得哈佛大学博士学位。", [("张伟", "毕业院校", "哈佛大学")]),
        ("李娜是复旦大学校友。", [("李娜", "毕业院校", "复旦大学")]),
        ("网易公司的子公司有道公司上市。", [("有道公司", "母公司", "网易公司")]),
        (
            "王思聪是万达集团董事长王健林的独生子。",
            [("王健林", "子女", "王思聪"), ("王健林", "任职", "万达集团")],
        ),
        ("何超琼是赌王何鸿燊的二女儿。", [("何鸿燊", "子女", "何超琼")]),
        ("歌手陈楚生和主持人张丹丹2010年登记结婚。", [("陈楚生", "配偶", "张丹丹")]),
        ("澳大利亚首都设在堪培拉。", [("澳大利亚", "首都", "堪培拉")]),
        ("阿里巴巴的总部早就从香港搬到了杭州。", [("阿里巴巴", "总部地点", "杭州")]),
        # What looks like these and says something else.
        ("王思聪是李明的女婿。", []),
        ("澳大利亚首都的天气很好。", []),
        ("王伟的父亲是李明的老师。", []),
        ("北京大学的学生张伟见到了李明。", []),
        ("张伟在北京协和医院看病，李明主任接待了他。", []),
        ("清华大学的李明和张伟都来了。", []),
        ("他向中国银行行长提出建议，张三没有表态。", []),
    ],
)
def test_relations(lac: Lac, text: str, relations: list[tuple[str, str, str]]) -> None:
    matches = relations_of(mask(text, lac.tokens(text)))
    assert [(one.subject.text, one.predicate, one.object.text) for one in matches] == relations


@pytest.mark.parametrize(
    ("text", "events"),
    [
        (
            "诺基亚公司把手机部门卖给了微软公司。",
            [("收购", "卖给", {"收购方": "微软公司"})],
        ),
        (
            "西部数据公司以190亿美元出售给了凯雷集团。",
            [
                (
                    "收购",
                    "出售给",
                    {"收购方": "凯雷集团", "被收购方": "西部数据公司", "金额": "190亿美元"},
                )
            ],
        ),
        (
            "总统李明下周将对印度进行正式访问，随行的还有西门子。",
            [("访问", "访问", {"来访者": "李明", "目的地": "印度", "时间": "下周"})],
        ),
        ("李强总理访华期间发表讲话。", [("访问", "访华", {"来访者": "李强"})]),
        ("王毅与王伟在北京会面。", [("会见", "会面", {"主体": "王毅", "对象": "王伟", "地点": "北京"})]),
        (
            "德国总理默茨周三抵达印度，展开两天的访问。",
            [("访问", "抵达", {"来访者": "默茨", "目的地": "印度", "时间": "周三"})],
        ),
        (
            "王毅在吉隆坡同马来西亚外长哈桑举行会谈。",
            [("会见", "会谈", {"主体": "王毅", "对象": "哈桑", "地点": "吉隆坡"})],
        ),
        (
            "商汤科技获得6亿美元投资。",
            [("融资", "投资", {"融资方": "商汤科技", "金额": "6亿美元"})],
        ),
        (
            "球星梅西在罗萨里奥举行婚礼。",
            [("结婚", "婚礼", {"人物": "梅西", "地点": "罗萨里奥"})],
        ),
        (
            "德国总理默茨周三到访印度。",
            [("访问", "到访", {"来访者": "默茨", "目的地": "印度", "时间": "周三"})],
        ),
        (
            "微软公司买下诺基亚公司。",
            [("收购", "买下", {"收购方": "微软公司", "被收购方": "诺基亚公司"})],
        ),
        (
            "中国队逆转战胜日本队。",
            [("胜负", "战胜", {"胜者": "中国队", "败者": "日本队"})],
        ),
        (
            "比亚迪公司1995年创立，总部设在深圳。",
            [("成立", "创立", {"机构": "比亚迪公司", "时间": "1995年"})],
        ),
        (
            "微软公司从诺基亚公司手中收购了凯雷集团。",
            [("收购", "收购", {"收购方": "微软公司", "被收购方": "凯雷集团"})],
        ),
        # What looks like these and says something else.
        ("他把旧车卖给了邻居。", []),
        ("李明的老师的父亲的病逝世人皆知。", []),
        ("客人到了才访问网站。", []),
        ("中国队逆转了局势。", []),
        ("我们对印度的访问印象深刻。", []),
        ("默茨周三抵达印度，参观了一家工厂。", []),
        ("默茨周三抵达印度，网站的访问量上升。", []),
        ("王毅同意马来西亚外长哈桑的看法，会谈很快结束。", []),
        ("会员可以访问网站。", []),
        ("腾讯公司获得监管批准，投资环境改善。", []),
        ("张伟输了比赛给李明加油。", []),
        ("甲公司对乙公司表示不满。", []),
    ],
)
def test_events(lac: Lac, text: str, events: list[tuple[str, str, dict[str, str]]]) -> None:
    tokens = lac.tokens(text)
    matches = events_of(text, tokens, mask(text, tokens))
    assert [(one.type, one.trigger, {a.role: a.text for a in one.arguments}) for one in matches] == events
    for one in matches:
        assert text[one.start : one.end] == one.trigger


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("球星梅西在罗萨里奥举行婚礼。", ["罗萨里奥"]),
        ("会议在王伟主持下举行。", []),
        ("张伟在李明结婚后离开。", []),
    ],
)
def test_a_name_before_what_happens_there_is_a_place(lac: Lac, text: str, places: list[str]) -> None:
    masked = mask(text, lac.tokens(text))
    assert [one.text for one in masked.entities if one is not None and one.type == "GPE"] == places
