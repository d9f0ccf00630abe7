"""What the engines and the file of keys say is wrong with them, in Chinese, for whoever uses the commands in it.

The API and the logs have these sentences in English. Each form is one of them with its {variable parts}; a part that is
called ``detail`` is such a sentence itself. ``tests/unit/service/test_chinese.py`` finds every sentence in the source.
"""

import functools
import re

_FORMS: tuple[tuple[str, str], ...] = (
    # The request.
    ("{status} {code}: {detail}", "{status} {code}：{detail}"),
    # The model's directory.
    (
        "the model is still an archive: unpack {archive} so that config.json lies in {variable}",
        "模型还是压缩包：请解压 {archive}，使 config.json 位于 {variable}",
    ),
    ("{variable} is empty: {detail}", "{variable} 是空目录：{detail}"),
    ("{variable} is not a directory: {detail}", "{variable} 不是目录：{detail}"),
    ("{variable} has no {file}: {detail}", "{variable} 中没有 {file}：{detail}"),
    (
        "{variable} has neither {one} nor {other}: {detail}",
        "{variable} 中既没有 {one} 也没有 {other}：{detail}",
    ),
    (
        "the model lies one directory deeper, in {directory}: point it there",
        "模型在下一级目录 {directory} 中：请指向那里",
    ),
    (
        "download {model} into it ({command}), or set GTE_MODEL_DOWNLOAD=1, or unset {variable} to use the embedded"
        " default",
        "请把 {model} 下载到其中（{command}），或设置 GTE_MODEL_DOWNLOAD=1，或取消设置 {variable} 以使用内置默认模型",
    ),
    (
        "download {model} into it ({command}), or unset {variable} to use the embedded default",
        "请把 {model} 下载到其中（{command}），或取消设置 {variable} 以使用内置默认模型",
    ),
    (
        "the model in {variable} brings code of its own, which would run as this service: set GTE_TRUST_REMOTE_CODE=1"
        " if you trust it, or use {model}, which needs none",
        "{variable} 中的模型自带代码，会以本服务的身份运行：信任它请设置 GTE_TRUST_REMOTE_CODE=1，"
        "或改用不带代码的 {model}",
    ),
    # Its files.
    (
        "{file}: {name} is {value}, this engine computes {computed}",
        "{file}：{name} 为 {value}，本引擎只计算 {computed}",
    ),
    ("{file}: {name} is {value}, not cls or avg", "{file}：{name} 为 {value}，应为 cls 或 avg"),
    (
        "{file} does not describe a BERT encoder: its sizes do not fit together",
        "{file} 描述的不是 BERT 编码器：各尺寸互相矛盾",
    ),
    ("{file} does not describe a BERT encoder: {error}", "{file} 描述的不是 BERT 编码器：{error}"),
    ("{file} cannot be read ({error}): see the error log", "无法读取 {file}（{error}）：见错误日志"),
    ("{file} in {variable} cannot be read: see the error log", "无法读取 {variable} 中的 {file}：见错误日志"),
    ("{file} in {variable} is not a JSON object", "{variable} 中的 {file} 不是 JSON 对象"),
    ("{file} is not a JSON object", "{file} 不是 JSON 对象"),
    (
        "the vocabulary in {variable} cannot be used ({error}): see the error log",
        "{variable} 中的词表无法使用（{error}）：见错误日志",
    ),
    # Its weights.
    ("the checkpoint in {variable} cannot be used: {detail}", "{variable} 中的检查点无法使用：{detail}"),
    ("there is neither {one} nor {other}", "既没有 {one} 也没有 {other}"),
    ("the checkpoint has no tensor {name}", "检查点中没有张量 {name}"),
    (
        "{name} has the shape {shape}, config.json says {other}",
        "{name} 的形状为 {shape}，config.json 中为 {other}",
    ),
    ("{file} is not an index of a checkpoint's parts", "{file} 不是检查点各部分的索引"),
    ("{file} names a part outside the model's directory", "{file} 指向模型目录以外的文件"),
    ("{part}, named by {file}, is missing", "缺少 {file} 中列出的 {part}"),
    ("{file} is not a safetensors file, or was cut off", "{file} 不是 safetensors 文件，或不完整"),
    ("the header of {file} cannot be read", "无法读取 {file} 的文件头"),
    ("{file} was cut off: it has {size} bytes", "{file} 不完整：只有 {size} 字节"),
    ("{name} is of the type {kind}", "{name} 的类型为 {kind}"),
    ("{name} has another size than its shape in {file}", "{file} 中 {name} 的大小与形状不符"),
    ("{file} ended in the middle of {name}", "{file} 在 {name} 中间结束"),
    ("{file} cannot be read ({error})", "无法读取 {file}（{error}）"),
    ("{file} holds no tensors by name", "{file} 中没有带名称的张量"),
    # The processes.
    ("{package} is not installed: {command}", "未安装 {package}：{command}"),
    (
        "the engine process ended while it loaded the model: see the error log",
        "引擎进程在加载模型时结束：见错误日志",
    ),
    (
        "the extractor's process was lost while it loaded the model: see the error log",
        "抽取进程在加载模型时丢失：见错误日志",
    ),
    (
        "the model in {variable} cannot be loaded ({error}): see the error log",
        "无法加载 {variable} 中的模型（{error}）：见错误日志",
    ),
    (
        "the model in {variable} returns no scores, which this task needs: use {model}",
        "{variable} 中的模型不返回分数，而此任务需要分数：请使用 {model}",
    ),
    (
        "the {kind} engine could not be loaded ({error}): see the error log",
        "无法加载 {kind} 引擎（{error}）：见错误日志",
    ),
    ("the {kind} engine is being loaded", "正在加载 {kind} 引擎"),
    ("the {kind}'s model is about to be downloaded", "即将下载 {kind} 的模型"),
    (
        "the {kind}'s process was lost and is being started again",
        "{kind} 的进程已丢失，正在重新启动",
    ),
    ("the {kind}'s process failed ({error}): try again", "{kind} 的进程失败（{error}）：请重试"),
    # The file of keys.
    (
        "a name is 1 to 64 letters, digits, '.', '_' or '-', and begins with one of the first two",
        "名称由 1 至 64 个字母、数字、'.'、'_' 或 '-' 组成，以字母或数字开头",
    ),
    (
        "there is a key named {name}: revoke it first, or take another name",
        "已有名为 {name} 的密钥：请先吊销，或换一个名称",
    ),
    ("there is no key named {name}", "没有名为 {name} 的密钥"),
    ("it is no regular file", "不是普通文件"),
    ("others than its owner may write to it: chmod 600", "属主以外的用户也可写入：chmod 600"),
    ("it is larger than {size} bytes", "大于 {size} 字节"),
    ("it is not JSON: {error}", "不是 JSON：{error}"),
    ('it is no object with a list "keys"', '不是带有列表 "keys" 的对象'),
    (
        'entry {number} lacks "name", "sha256" or "created"',
        '第 {number} 项缺少 "name"、"sha256" 或 "created"',
    ),
    ("the name or the hash of entry {number} is malformed", "第 {number} 项的名称或哈希格式错误"),
    ("a name stands twice", "有名称出现两次"),
    ("it could not be written: {error}", "无法写入：{error}"),
    ("its directory: {error}", "所在目录：{error}"),
    ("the {kind}'s process {detail}", "{kind} 的进程：{detail}"),
    # The download.
    (
        "{variable}: {model} could not be downloaded: {detail}; tried again in {seconds} s. By hand: {command}",
        "{variable}：无法下载 {model}：{detail}；{seconds} 秒后重试。手工下载：{command}",
    ),
    ("{variable}: {model} is being downloaded{progress}", "{variable}：正在下载 {model}{progress}"),
    (
        "a mount point cannot be replaced by what was downloaded beside it: name a directory in it",
        "挂载点无法由旁边下载的内容替换：请指定其中的一个目录",
    ),
    (
        "nothing can be written beside the directory ({error}): it must belong to the service, and under systemd"
        " stand in ReadWritePaths",
        "目录旁边无法写入（{error}）：它须属于本服务；由 systemd 启动时还须列入 ReadWritePaths",
    ),
    (
        "the disk is full: {needed} MB are needed, {free} are free",
        "磁盘空间不足：需要 {needed} MB，剩余 {free} MB",
    ),
    (
        "the hub's list of its files names no config.json or no weights",
        "hub 的文件清单中没有 config.json 或权重",
    ),
    ("{file} is not whole: {size} of {all} bytes", "{file} 不完整：{all} 字节中只有 {size}"),
    (
        "what the hub has is no model for this service: {detail}",
        "hub 上的内容不是本服务可用的模型：{detail}",
    ),
)


# A sentence holds at most one other, behind an answer's status; the rest are causes.
_MAX_DEPTH = 4


def chinese(sentence: str, depth: int = 0) -> str:
    """``sentence`` in Chinese; as it is, if it is none of the known ones. ``depth``: of the sentences around it."""
    for literals, names, form in _ordered_forms():
        values = _values(sentence, literals, names)
        if values is None:
            continue
        if "detail" in values and depth < _MAX_DEPTH:
            values["detail"] = chinese(values["detail"], depth + 1)
        return form.format(**values)
    return sentence


@functools.cache
def _ordered_forms() -> tuple[tuple[list[str], list[str], str], ...]:
    """The fixed words of each form, the names of what stands between them, and the Chinese."""
    # The longest first, because a part of a short form may be the beginning of a longer one; before all an answer's
    # status, which stands before any of them.
    forms = sorted(
        _FORMS, key=lambda form: ("{status}" not in form[0], -len(re.sub(r"\{\w+\}", "", form[0])))
    )
    return tuple((parts[::2], parts[1::2], zh) for en, zh in forms for parts in [re.split(r"\{(\w+)\}", en)])


def _values(sentence: str, literals: list[str], names: list[str]) -> dict[str, str] | None:
    """What stands between the fixed words, each as short as it can be; None if the sentence is another one.

    Each of the fixed words is looked for once, behind those before it: a regular expression with several ``.+?`` tries
    all places of each with all of the others, and a library's error may have any length."""
    if not names:
        return {} if sentence == literals[0] else None
    if not sentence.startswith(literals[0]):
        return None
    values, at = {}, len(literals[0])
    for name, literal in zip(names[:-1], literals[1:-1], strict=True):
        end = sentence.find(literal, at + 1)
        if end < 0:
            return None
        values[name], at = sentence[at:end], end + len(literal)
    end = len(sentence) - len(literals[-1])
    if end <= at or not sentence.endswith(literals[-1]):
        return None
    values[names[-1]] = sentence[at:end]
    status = values.get("status")
    return values if status is None or re.fullmatch(r"[0-9]{3}", status) else None
