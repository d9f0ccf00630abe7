"""The forms of the reasons why something was not seen, and of libraries' messages, English beside Chinese.

Facts hold a reason as an English sentence with names, paths and the system's own words in it, and so does a bundle,
which may be of an earlier version. A report in Chinese looks for the form and says it in Chinese; a sentence of no
known form stays as it is. A test fails for a reason in `ops` that has no form here."""

from __future__ import annotations

import errno
import functools
import os
import re

from ops.text.duration import in_chinese_units

# {name}: taken over as it is. {why...}: a reason again, which needs a form too. {any}: a reason or any other words.
_FORMS: tuple[tuple[str, str], ...] = (
    ("{any} (run as root to see)", "{any}（需以 root 运行才能看到）"),
    ("{any}; run it as root", "{any}；请以 root 运行"),
    # Files and the system.
    ("{path}: the certificate on disk cannot be read: {why}", "{path}：无法读取磁盘上的证书：{why}"),
    ("{path}: cannot be read: {why}", "{path}：无法读取：{why}"),
    ("{path}: cannot be written: {why}", "{path}：无法写入：{why}"),
    ("{path}: cannot be locked: {why}", "{path}：无法加锁：{why}"),
    ("not Alertmanager's JSON: {any}", "不是 Alertmanager 的 JSON：{any}"),
    (
        "{count} alerts, at most {most} are taken: set max_alerts",
        "共 {count} 条告警，最多接受 {most} 条：请设置 max_alerts",
    ),
    ("an alert has more than {count} labels", "某条告警的标签超过 {count} 个"),
    (
        "{path}: locked by another process for more than {seconds} s",
        "{path}：被其他进程锁定超过 {seconds} 秒",
    ),
    ("it belongs to the former service", "它属于原来的服务"),
    ("permission denied for this user", "当前用户权限不足"),
    ("permission denied", "权限不足"),
    ("{path} does not exist: no watchdog has run", "{path} 不存在：watchdog 从未运行过"),
    (
        "{path} does not exist: which interpreter the service runs on",
        "{path} 不存在，不知道服务使用哪个解释器",
    ),
    ("{path} does not exist", "{path} 不存在"),
    ("{path} may not be read", "无权读取 {path}"),
    ("it cannot be read: {any}", "无法读取：{any}"),
    ("{path} cannot be read: {why}", "无法读取 {path}：{why}"),
    ("{path} cannot be looked at: {why}", "无法查看 {path}：{why}"),
    ("{path} cannot be parsed: {any}", "无法解析 {path}：{any}"),
    ("{path} does not run: {why}", "{path} 无法运行：{why}"),
    ("{path}: not read: {why}", "没有读取 {path}：{why}"),
    ("{path} is not run: {why}", "不运行 {path}：{why}"),
    ("{path} is larger than {size} KiB", "{path} 超过 {size} KiB"),
    ("the file is larger than {size} MiB", "文件超过 {size} MiB"),
    ("the file is empty", "文件为空"),
    ("{path} is not the path of a file", "{path} 不是文件路径"),
    ("{path} is a symbolic link to something that does not exist", "{path} 是指向不存在目标的符号链接"),
    ("{path} leads to {real}, outside {root}: not followed", "{path} 指向 {root} 之外的 {real}，不予跟随"),
    ("{path} belongs to user {uid}", "{path} 属于用户 {uid}"),
    ("everybody may write {path}", "任何人都可以写 {path}"),
    ("{path} may be written by its group", "{path} 所属的组可以写它"),
    ("{path}: more than {count} causes in all files", "{path}：所有文件中的故障原因超过 {count} 个"),
    ("{path}: more than {count} entries", "{path}：条目超过 {count} 个"),
    ("it has several names, and {why}", "它有多个硬链接，且{why}"),
    ("nobody but its owner may be followed there", "只能跟随其属主的链接"),
    ("it was not looked at", "没有查看"),
    (
        "{address} is served by {server} (pid {pid}), which is no gunicorn",
        "{address} 由 {server}（进程 {pid}）提供服务，不是 gunicorn",
    ),
    ("no handshake with a key of kind {kind}: {why}", "无法用 {kind} 类型的密钥握手：{why}"),
    (
        "TLS ends before this host: nginx's site has no listen with ssl",
        "TLS 在本机之前终止：nginx 的站点没有带 ssl 的 listen",
    ),
    (
        "the front door wants {any}: the service is judged from behind",
        "入口要求{any}：改为从后端判断服务",
    ),
    (
        "a client certificate ({directive}; at {path}; tls.client_certificate shows one)",
        "客户端证书（{path} 的 {directive}；设置 tls.client_certificate 即可出示）",
    ),
    ("a user name and a password ({directive}; at {path})", "用户名和密码（{path} 的 {directive}）"),
    ("what {uri} lets in ({directive}; at {path})", "请求先通过 {uri} 的检查（{path} 的 {directive}）"),
    (
        "another address than {client} ({directive}; at {path})",
        "来自 {client} 以外的地址（{path} 的 {directive}）",
    ),
    (
        "clients to wait: a maintenance page is on ({directive}; at {path})",
        "客户端等待：维护页已启用（{path} 的 {directive}）",
    ),
    ("fewer requests ({directive}; at {path})", "减少请求（{path} 的 {directive}）"),
    # Causes that the site defines.
    ("the site defines no causes of its own", "站点没有自定义故障原因"),
    ("its conditions were not looked at", "没有查看它的条件"),
    ("the {name} log is not known", "不知道 {name} 日志在哪里"),
    ("{program} prints more than {size} KiB", "{program} 的输出超过 {size} KiB"),
    ("{path}: only the last {size} MiB were read", "{path}：只读取了最后 {size} MiB"),
    ("no user without privileges is to be had here", "这里没有可用的无特权用户"),
    ("more than {count} conditions", "条件超过 {count} 个"),
    (
        "the pattern takes too long on what is there: write it without nested repetition",
        "正则表达式在现有内容上耗时过长：请避免嵌套的重复",
    ),
    ("a bundle holds no {kind} that it was not made to look at", "诊断包中没有生成时未查看的 {kind}"),
    ("the bundle does not hold all of {path}", "诊断包中的 {path} 不完整"),
    ("the bundle does not hold {path}", "诊断包中没有 {path}"),
    ("a bundle holds the processes of the web alone", "诊断包中只有与 Web 有关的进程"),
    ("no process matches {any}", "没有进程匹配 {any}"),
    ("no process of user {user} matches {any}", "用户 {user} 没有进程匹配 {any}"),
    ("there is no such file", "没有这个文件"),
    ("{count} lines match", "匹配 {count} 行"),
    ("no line matches {any}", "没有匹配 {any} 的行"),
    ("no line of the last {age} matches {any}", "最近 {age}内没有匹配 {any} 的行"),
    ("changed {age} ago, {size} bytes", "{age}前改动，{size} 字节"),
    ("only the last {size} MiB were read", "只读取了最后 {size} MiB"),
    ("no access log is known", "不知道访问日志在哪里"),
    # A run.
    ("{path} did not finish within {seconds} s", "{path} 在 {seconds} 秒内没有结束"),
    ("the collector '{name}' failed: {any}", "采集器 {name} 出错：{any}"),
    ("'{name}' did not finish within the budget", "{name} 未能在时限内完成"),
    ("the probe did not finish", "探测没有完成"),
    ("no time was left to wait for an answer to {any}", "没有时间等待 {any} 的应答"),
    ("the probe failed: {any}", "探测出错：{any}"),
    ("the process that probes did not answer: {any}", "探测进程没有应答：{any}"),
    ("no probe is called {name}", "没有名为 {name} 的探测"),
    ("nothing to ask: {why}", "无法询问：{why}"),
    ("reading these processes did not end: {pids}", "读取这些进程时没有返回：{pids}"),
    ("names were not asked for", "没有查询名称"),
    ("seen from outside", "只从外部查看"),
    ("the URL is plain HTTP", "该地址是明文 HTTP"),
    ("nobody looked at the service's environment", "没有查看服务的 Python 环境"),
    ("nobody looked at the application's files", "没有查看应用的文件"),
    ("nobody looked at the workers' memory", "没有查看工作进程的内存"),
    ("nobody looked at the kernel's log", "没有查看内核日志"),
    ("nobody looked at who may read the model", "没有查看谁能读取模型"),
    ("no watchdog has run", "watchdog 从未运行过"),
    ("certbot's directory was not looked at", "没有查看 certbot 的目录"),
    ("old versions of TLS were not tried", "没有尝试旧版 TLS"),
    ("the schedule was not looked at", "没有查看定时任务"),
    ("backups were not looked for", "没有查找备份"),
    ("the rotation rules were not read", "没有读取日志轮转规则"),
    ("open files were not looked at", "没有查看已打开的文件"),
    ("the machine was not looked at", "没有查看主机资源"),
    ("the service answers", "服务有应答"),
    ("nobody looked at the packet filter", "没有查看包过滤规则"),
    ("the packet filter's rules", "包过滤规则"),
    ("the packet filter was not read in time", "未能及时读完包过滤规则"),
    ("the packet filter has more than {first} rules", "包过滤规则超过 {first} 条"),
    ("nft: {any}", "nft：{any}"),
    ("iptables-save: {any}", "iptables-save：{any}"),
    ("ip6tables-save: {any}", "ip6tables-save：{any}"),
    ("systemctl is not installed", "没有安装 systemctl"),
    ("systemd was not asked", "没有查询 systemd"),
    ("systemd did not answer in time", "systemd 未能及时应答"),
    ("{program} did not answer in time", "{program} 未能及时应答"),
    ("the journal of {unit} was not read in time", "未能及时读取 {unit} 的 journal"),
    ("systemctl show: {any}", "systemctl show 失败：{any}"),
    ("no baseline has been recorded", "还没有记录基线"),
    ("the name leads to this host, or is not dialled", "域名指向本机，或没有连接它"),
    # Acting on processes, and repairs.
    ("process {first} has ended", "进程 {first} 已经结束"),
    (
        "process {first} has ended; its pid is not the one that was meant",
        "进程 {first} 已经结束，现在的同号进程不是要找的那个",
    ),
    (
        "process {first} is another user's; run the watchdog as root or as the service's user",
        "进程 {first} 属于其他用户，请以 root 或服务的用户运行",
    ),
    (
        "{first} names process {second}, which is this service's gunicorn; nothing was started",
        "{first} 指向进程 {second}，它就是本服务的 gunicorn，未启动任何程序",
    ),
    (
        "process {first} survives SIGKILL (uninterruptible sleep); a start would collide with it",
        "进程 {first} 处于不可中断睡眠，SIGKILL 也无法结束；此时启动会与它冲突",
    ),
    (
        "the service's address is still held after its processes ended; nothing was started",
        "服务的进程结束后地址仍被占用，未启动任何程序",
    ),
    ("{first} ended with exit code {second}; see {third}", "{first} 以退出码 {second} 结束，请看 {third}"),
    (
        "{first} ended with exit code {second}, run as user {third}, as whom the service ran; see {fourth}",
        "{first} 以退出码 {second} 结束（以服务原来的用户 {third} 运行），请看 {fourth}",
    ),
    ("could not be run as user {first} in {second}", "无法以用户 {first} 在 {second} 中运行"),
    ("there is no systemctl on the path that is root's alone", "在只属于 root 的路径上没有 systemctl"),
    ("nginx (process {first}) ended at its reload", "nginx（进程 {first}）在重新加载时退出了"),
    ("nginx (process {first}) ended at its reload: {any}", "nginx（进程 {first}）在重新加载时退出了：{any}"),
    ("nginx kept its old configuration at the reload", "重新加载后 nginx 仍在使用旧配置"),
    ("nginx kept its old configuration at the reload: {any}", "重新加载后 nginx 仍在使用旧配置：{any}"),
    ("line {first}: {second} opens a block", "第 {first} 行：{second} 后面是一个块"),
    ("line {first}: {second} is in no block {third}", "第 {first} 行：{second} 不在任何 {third} 块内"),
    ("line {first}: {second} has {any} times", "第 {first} 行：{second} 中的词与次数不符：{any}"),
    ("line {first}: {second} is not followed by {third}", "第 {first} 行：{second} 后面不是 {third}"),
    ("a file with Lua in it is not edited", "含有 Lua 的文件不做修改"),
    ("line {first}: {second} occurs there {third} times", "第 {first} 行：{second} 出现了 {third} 次"),
    ("{first} was not read", "没有读取 {first}"),
    ("it was not made", "没有生成"),
    ("it does not exist", "不存在"),
    ("it is not a regular file", "不是普通文件"),
    ("it is not a regular file with a single name", "它不是只有一个名字的普通文件"),
    ("{any}; nothing was changed", "{any}；未作任何改动"),
    ("systemctl {first} {second}: {any}", "systemctl {first} {second} 失败：{any}"),
    ("systemctl {first}: {any}", "systemctl {first} 失败：{any}"),
    ("a master has come up by itself meanwhile", "主进程已自行启动"),
    # The host.
    ("/proc/meminfo does not tell how much memory is available", "/proc/meminfo 没有给出可用内存"),
    (
        "/proc/stat does not tell the time stolen from this machine",
        "/proc/stat 没有给出被宿主机占用的 CPU 时间",
    ),
    ("the kernel's log was not read to its end in time", "未能及时读完内核日志"),
    ("the open files of nginx or gunicorn may not be read", "无权查看 nginx 或 gunicorn 打开的文件"),
    # The network.
    ("no time was left for the resolver to answer", "没有剩余时间等待域名解析"),
    ("the name did not resolve", "域名无法解析"),
    ("the name leads to this host", "域名指向本机"),
    ("deadline passed", "超过时限"),
    ("systemd does not run here", "本机没有运行 systemd"),
    ("it is not enabled", "没有启用"),
    ("it does nothing where systemd runs", "在运行 systemd 的主机上不起作用"),
    ("no connection within {seconds} s ({why})", "{seconds} 秒内没有连上（{why}）"),
    ("no connection within {seconds} s", "{seconds} 秒内没有连上"),
    ("no TLS handshake within {seconds} s ({why})", "{seconds} 秒内没有完成 TLS 握手（{why}）"),
    ("no TLS handshake within {seconds} s", "{seconds} 秒内没有完成 TLS 握手"),
    ("no answer within {seconds} s ({why})", "{seconds} 秒内没有应答（{why}）"),
    ("no answer within {seconds} s", "{seconds} 秒内没有应答"),
    ("no {phase} within {seconds} s ({why})", "{seconds} 秒内没有得到 {phase}（{why}）"),
    ("no {phase} within {seconds} s", "{seconds} 秒内没有得到 {phase}"),
    ("connect: {why}", "连接：{why}"),
    ("tls: {any}", "TLS：{any}"),
    ("every worker is stopped", "所有工作进程都已被暂停"),
    ("every worker is deadlocked", "所有工作进程都已死锁"),
    (
        "a worker can never go on, and the others have nothing of ours",
        "有一个工作进程无法继续，其余的没有处理本次请求",
    ),
    ("every worker is past its boot deadline", "所有工作进程都已超过启动时限"),
    (
        "no worker has completed anything for longer than the budget",
        "所有工作进程在整个时限内都没有完成任何请求",
    ),
    (
        "a worker is past its request deadline, and the others have nothing of ours",
        "有一个工作进程已超过请求时限，其余的没有处理本次请求",
    ),
    ("requests complete while others queue", "有请求完成，也有请求仍在排队"),
    ("wait ended early: {why}", "提前结束等待：{why}"),
    ("no TLS handshake with {address} in time: {why}", "与 {address} 的 TLS 握手超时：{why}"),
    ("the TLS handshake with {address} fails: {any}", "与 {address} 的 TLS 握手失败：{any}"),
    ("{address} reset the connection during the TLS handshake", "{address} 在 TLS 握手期间重置了连接"),
    ("no TLS connection to {address}: {why}", "无法与 {address} 建立 TLS 连接：{why}"),
    ("{address} speaks plain HTTP, not TLS", "{address} 使用明文 HTTP，而不是 TLS"),
    ("what answers at {address} is not TLS", "{address} 应答的不是 TLS"),
    ("this host cannot speak {name}: {any}", "本机无法使用 {name}：{any}"),
    ("this host's OpenSSL has no {name}", "本机的 OpenSSL 不支持 {name}"),
    ("the peer closed the connection", "对端关闭了连接"),
    ("the server presented no certificate", "服务器没有出示证书"),
    ("the served certificate cannot be read: {any}", "无法读取服务器出示的证书：{any}"),
    ("no {what} file is configured", "没有配置 {what} 文件"),
    ("the certificate does not lie in certbot's directory", "证书不在 certbot 的目录中"),
    ("{directory} holds no certbot lineages", "{directory} 中没有 certbot 管理的证书"),
    (
        "{directory} holds no log of certbot: none has run, or it logs elsewhere",
        "{directory} 中没有 certbot 日志：certbot 没有运行过，或日志在别处",
    ),
    ("there are no lineages", "没有 certbot 管理的证书"),
    ("only named endpoints were asked for", "只检查了指定的端点"),
    ("only {some} of {count} endpoints are looked at", "{count} 个端点中只检查了 {some} 个"),
    # nginx.
    ("nginx's program was not found", "找不到 nginx 程序"),
    ("nginx's configuration was not read", "没有读取 nginx 配置"),
    ("nginx -t was not run: {why}", "没有运行 nginx -t：{why}"),
    ("nginx -t did not finish within {seconds} s", "nginx -t 在 {seconds} 秒内没有结束"),
    (
        "nginx -t may not open its files in this unit's sandbox: {line}",
        "在该 systemd unit 的沙箱中，nginx -t 无权打开文件：{line}",
    ),
    ("nginx -t failed without saying why", "nginx -t 失败且没有给出原因"),
    ("nginx writes no error log to a file", "nginx 没有把错误日志写入文件"),
    ("not all of {path} could be read", "未能完整读取 {path}"),
    ("{place}: {name} {written} is no number", "{place}：{name} 的值 {written} 不是数字"),
    (
        "no worker of nginx runs, and worker_rlimit_nofile is not set",
        "没有运行中的 nginx 工作进程，也没有设置 worker_rlimit_nofile",
    ),
    ("{place}: what follows was not read", "{place}：其后的内容没有读取"),
    ("{place}: the block was not read", "{place}：该配置块没有读取"),
    ("{place}: {pattern} matches what nginx makes of it", "{place}：{pattern} 匹配哪些文件由 nginx 决定"),
    ("{place}: {pattern} matches more than {count} files", "{place}：{pattern} 匹配的文件超过 {count} 个"),
    ("{path} was not read: it is included too deeply", "没有读取 {path}：include 层数过多"),
    ("{path} is included by itself, or too deeply", "{path} 包含了自身，或 include 层数过多"),
    ("{path} was not read: {why}", "没有读取 {path}：{why}"),
    ("{path}: {pattern} stands behind what could not be parsed", "{path}：{pattern} 位于无法解析的内容之后"),
    ("nginx does not run", "nginx 没有运行"),
    ("as whom nginx's workers run: there is none", "nginx 没有工作进程，不知道它们以哪个用户运行"),
    ("the files of process {pid} may not be looked at", "无权查看进程 {pid} 打开的文件"),
    (
        "no nginx master of this host serves; {path} is held by {any}",
        "本机没有正在服务的 nginx 主进程；{path} 由 {any} 占用",
    ),
    ("nobody that is seen", "看不到的进程"),
    # gunicorn, the application, the model.
    ("{path} answers {status}: {any}", "{path} 返回 {status}：{any}"),
    (
        "it refuses the key that target.headers_file holds ({names} of {path})",
        "它拒绝 target.headers_file 中的密钥（{path} 里的 {names}）",
    ),
    (
        "it wants a key; what target.headers_file holds goes to the service's own gunicorn alone",
        "需要密钥；target.headers_file 的内容只发给本服务自己的 gunicorn",
    ),
    (
        "it wants a key: target.headers_file sends one. The answer: {any}",
        "需要密钥：可用 target.headers_file 发送。应答：{any}",
    ),
    ("it wants a key: {why}", "需要密钥：{why}"),
    ("it wants a key", "需要密钥"),
    (
        "the application may have another: set target.health_path",
        "应用的健康检查路径可能不同：请设置 target.health_path",
    ),
    (
        "the application itself answers {status} to the test prediction, which may not be one of its own: set "
        "target.predict_path and target.predict_body",
        "应用对测试预测返回 {status}，该请求可能不适用于此应用：请设置 target.predict_path 和 target.predict_body",
    ),
    ("which configuration file it reads", "不知道它读取哪个配置文件"),
    ("gunicorn's configuration was not read", "没有读取 gunicorn 配置"),
    ("gunicorn's configuration is a module ({name})", "gunicorn 的配置是 Python 模块（{name}）"),
    ("gunicorn's title hides its command line", "gunicorn 的进程标题掩盖了命令行"),
    ("GUNICORN_CMD_ARGS in gunicorn's environment", "gunicorn 环境变量中的 GUNICORN_CMD_ARGS 看不到"),
    ("gunicorn does not run", "gunicorn 没有运行"),
    ("gunicorn keeps no pidfile", "gunicorn 没有使用 pidfile"),
    ("nothing here measures this clock", "此处没有可用来核对时钟的来源"),
    ("no pidfile is configured", "没有配置 pidfile"),
    ("no configuration file", "没有配置文件"),
    (
        "{count} lines of {path} belong to several sites, and nothing in them tells to which: add $host to log_format, "
        "or give each site an access_log of its own",
        "{path} 里有 {count} 行可能属于多个站点中的任何一个，从内容无法判断："
        "请在 log_format 里加上 $host，或让每个站点使用自己的 access_log",
    ),
    ("the pidfile's name has to be computed", "pidfile 的名称要在运行时才能确定"),
    (
        "{place}: {name} = {source} is known only where it runs",
        "{place}：{name} = {source} 的值只有运行时才知道",
    ),
    ("{path} takes over everything in {modules}", "{path} 导入了 {modules} 的全部内容"),
    (
        "no directory of progress records is configured (app.progress_dir)",
        "没有配置进度记录目录（app.progress_dir）",
    ),
    ("{path}: an answer of {length} bytes", "{path}：应答有 {length} 字节"),
    ("{path}: not gunicorn's answer", "{path}：不是 gunicorn 的应答"),
    ("who holds {address}", "看不到谁占用 {address}"),
    ("somebody listens at {address}", "有进程监听 {address}"),
    ("no master is seen", "看不到主进程"),
    ("/health did not answer", "/health 没有应答"),
    ("where {python} keeps its packages", "不知道 {python} 的软件包在何处"),
    (
        "whether the service runs on {python}, which has no gunicorn: set app.python",
        "无法确定服务是否使用 {python}（其中没有 gunicorn）：请设置 app.python",
    ),
    ("{name}'s version {version} is none", "{name} 的版本 {version} 不是有效版本号"),
    ("no model directory is configured", "没有配置模型目录"),
    ("as whom the service runs: there is no process of it", "服务没有进程，不知道它以哪个用户运行"),
    ("the service has no process, so its user is unknown", "服务没有进程，不知道它以哪个用户运行"),
    ("{path} has an access control list (see getfacl)", "{path} 设有访问控制列表（见 getfacl）"),
    ("the whole way to the model's files", "看不到通往模型文件的完整路径"),
    ("the whole way to {path}", "看不到通往 {path} 的完整路径"),
    (
        "a prediction took {seconds} s, but a second, warm one did not fit in the budget (--budget)",
        "一次预测用时 {seconds} 秒，时限（--budget）内无法再做一次预热后的预测",
    ),
    # Logs.
    ("no such log is configured", "没有配置这个日志"),
    ("{path}: no line in it begins with a time that is understood", "{path}：没有一行以可识别的时间开头"),
    ("{path}: no line in it carries a time that is understood", "{path}：没有一行带有可识别的时间"),
    ("where the standard output goes is not seen", "看不到标准输出去了哪里"),
    ("it goes to a terminal, and is kept nowhere", "输出到终端，没有保存"),
    ("it goes to a file that was deleted", "写入了一个已被删除的文件"),
    (
        "it goes to another program, which keeps no file that is known",
        "交给了另一个程序，不知道它写到哪个文件",
    ),
    ("it goes to the syslog of another host", "发往另一台主机的 syslog"),
    ("it goes to syslog, which keeps no file that is known", "写入 syslog，不知道它写到哪个文件"),
    ("journalctl is not installed", "没有安装 journalctl"),
    ("the journal shows nothing of this unit to this user", "当前用户在 journal 里看不到这个 unit 的内容"),
    ("no name of a unit", "不是 unit 的名字"),
    ("it is switched off", "已关闭"),
    ("it is thrown away", "内容被丢弃"),
    (
        "it goes to the service's standard output or error (see journalctl)",
        "写入服务的标准输出或标准错误（见 journalctl）",
    ),
    ("it goes to nginx's standard error (see journalctl)", "写入 nginx 的标准错误（见 journalctl）"),
    ("it goes to syslog or memory, not to a file", "写入 syslog 或内存，而不是文件"),
    ("it goes to a standard stream of the service, not to a file", "写入服务的标准流，而不是文件"),
    (
        "{path} is ignored by logrotate: writable by group or others",
        "logrotate 忽略 {path}：同组或其他用户可以写它",
    ),
    (
        "{path} is ignored by logrotate: user {uid} owns it",
        "logrotate 忽略 {path}：它属于用户 {uid}",
    ),
    # Backups and the watchdog.
    ("not looked into: {why}", "没有检查内容：{why}"),
    ("the watchdog has no resources left: {why}", "watchdog 自身资源不足：{why}"),
    ("the watchdog has no memory left", "watchdog 自身内存不足"),
    (
        "a process of this machine cannot be looked at, which keeps its memory locked: {any}",
        "本机有一个进程锁住了内存，无法查看：{any}",
    ),
    # Backups.
    ("{path}: there is no certificate in it", "{path}：其中没有证书"),
    (
        "{name}: {address} serves the certificate {first}…, and {path} holds {second}…",
        "{name}：{address} 提供的证书是 {first}…，而 {path} 中的是 {second}…",
    ),
    ("it is {why}", "它是{why}"),
    ("a socket", " socket"),
    ("its name is not UTF-8", "文件名不是 UTF-8"),
    ("its target's name is not UTF-8", "链接目标的名称不是 UTF-8"),
    ("its name is the manifest's", "文件名与备份清单相同"),
    (
        "a process of user {uid} names it, and it is no file of that user's; to have it in the backup, set "
        "gunicorn.config_file or backup.include",
        "由用户 {uid} 的进程指定，却不是该用户的文件；要备份它，请设置 gunicorn.config_file 或 backup.include",
    ),
    (
        "{link} is a link of user {uid} to what is not that user's",
        "{link} 是用户 {uid} 的链接，指向不属于该用户的内容",
    ),
    ("it kept changing while it was read", "读取期间一直在变化"),
    (
        "it changed while the backup was made; the backup holds it as it was before",
        "备份期间有改动；备份中是改动前的内容",
    ),
    ("none of the allowed signers made it", "不是任何受信任的签名者所签"),
    ("{path} is no signature of ssh-keygen's", "{path} 不是 ssh-keygen 的签名"),
    (
        "nginx cannot be run here without privileges and network: that takes CAP_SYS_ADMIN (unshare(2))",
        "这里无法让 nginx 在没有特权和网络的环境中运行：这需要 CAP_SYS_ADMIN（unshare(2)）",
    ),
    # Notifications.
    ("no usable token in it", "其中没有可用的令牌"),
    ("{name} robots know no secret", "{name} 机器人没有密钥（secret）"),
    (
        "endpoint= must be https://host[:port], or http:// on this machine",
        "endpoint= 须为 https://主机[:端口]，或本机的 http://",
    ),
    # Why an archive is refused.
    ("it is empty", "文件为空"),
    (
        "it is neither zstd, gzip nor age: not a backup of gte-ops",
        "既不是 zstd、gzip 也不是 age，不是 gte-ops 的备份",
    ),
    ("it is cut off", "归档不完整，末尾被截断"),
    ("its compression is damaged: {any}", "压缩数据已损坏：{any}"),
    ("its encryption is damaged: {any}", "加密数据已损坏：{any}"),
    (
        "it is encrypted; give the identity that opens it (--identity FILE)",
        "已加密；请用 --identity FILE 指定私钥文件",
    ),
    ("it is encrypted, and not to any of the identities given", "已加密，给出的私钥都无法解密"),
    ("it has no manifest: {any} instead of {name}", "没有清单 {name}：{any}"),
    ("it begins with {member}", "归档以 {member} 开头"),
    ("its manifest is larger than {size} MiB", "清单超过 {size} MiB"),
    (
        "{path} in it is larger than 1 MiB; this is not a gte-ops.toml",
        "其中的 {path} 超过 1 MiB，不是 gte-ops.toml",
    ),
    (
        "its manifest is refused: it was made by another version of gte-ops (schema_version {version}, this one reads "
        "{other})",
        "不接受其清单：由其他版本的 gte-ops 制作（schema_version {version}，本版本读取 {other}）",
    ),
    ("its manifest is refused: {any}", "不接受其清单：{any}"),
    ("{path} is in its manifest, but not in it", "清单里有 {path}，归档中却没有"),
    (
        "{path} is not the file its manifest describes: it is damaged",
        "{path} 与清单中的描述不符：已损坏",
    ),
    (
        "{path} is not what its manifest says: {name} {value}, not {other}",
        "{path} 与清单不符：{name} 为 {value}，应为 {other}",
    ),
    ("there is something behind the archive's end", "归档结尾之后还有内容"),
    ("there is something between two members", "两个成员之间有多余的内容"),
    ("a tar header is damaged: {any}", "tar 头已损坏：{any}"),
    ("an extended header is damaged", "扩展头已损坏"),
    ("an extended header has no member behind it", "扩展头之后没有成员"),
    ("an extended header of {size} bytes is refused", "不接受 {size} 字节的扩展头"),
    (
        "{member} has an extended header of an unknown kind, {name}",
        "{member} 的扩展头含有未知的键 {name}",
    ),
    ("{member} has a damaged {name}", "{member} 的 {name} 已损坏"),
    (
        "{member} is {any}; only files, directories and symbolic links are taken",
        "{member} 是{any}；只接受文件、目录和符号链接",
    ),
    ("a hard link", "硬链接"),
    ("a character device", "字符设备"),
    ("a block device", "块设备"),
    ("a FIFO", "命名管道"),
    ("a contiguous file", "连续存储文件"),
    ("a sparse file", "稀疏文件"),
    ("an entry of type {type}", "类型为 {type} 的条目"),
    ("{member} is a directory with content", "{member} 是目录，却带有内容"),
    ("{member} is a link with content", "{member} 是符号链接，却带有内容"),
    ("{member} is a directory with a link's target", "{member} 是目录，却带有链接目标"),
    ("{member} is a link to nowhere", "{member} 是没有目标的符号链接"),
    (
        "{member} is a link that leads out of the root: {target}",
        "{member} 是指向根目录之外的符号链接：{target}",
    ),
    ("{member} is in it twice", "{member} 在归档中出现两次"),
    ("{member} is in it, but not in its manifest", "归档中有 {member}，清单里却没有"),
    (
        "{member} is in its manifest, but not where it should stand: {other} stands there",
        "清单里有 {member}，但归档中的位置不对：那里是 {other}",
    ),
    ("{member} is an absolute path", "{member} 是绝对路径"),
    ("{member} climbs out by '..'", "{member} 借 '..' 越出根目录"),
    ("{member} is no plain path", "{member} 不是规范的路径"),
    ("{member} is longer than {size} bytes", "{member} 超过 {size} 字节"),
    ("{member} has an impossible mode, {mode}", "{member} 的权限位 {mode} 不可能存在"),
    ("{member} has an impossible owner, {uid}:{gid}", "{member} 的属主 {uid}:{gid} 不可能存在"),
    ("{member} has an impossible time", "{member} 的时间不可能存在"),
    ("{member} has no size or no SHA-256", "{member} 缺少大小或 SHA-256"),
    ("{member} would lie in {parent}, which is a file", "{member} 位于 {parent} 之下，而后者是文件"),
    ("{member} would lie in {parent}, which is a link", "{member} 位于 {parent} 之下，而后者是符号链接"),
    (
        "{member} would lie in {parent}, which is not among the directories before it",
        "{member} 位于 {parent} 之下，而此前的目录中没有后者",
    ),
    ("it lists {count} entries; at most {limit} are taken", "清单有 {count} 个条目；最多接受 {limit} 个"),
    ("it lists itself, {name}", "清单列出了自己（{name}）"),
    ("it lists {member} twice", "清单把 {member} 列了两次"),
    ("it promises {size} bytes; at most {limit} are taken", "清单共计 {size} 字节；最多接受 {limit} 字节"),
    (
        "it was made by another version of gte-ops (schema_version {version}, this one reads {other})",
        "由其他版本的 gte-ops 制作（schema_version {version}，本版本读取 {other}）",
    ),
    ("it cannot be written: {any}", "无法写入：{any}"),
    ("it would be larger than {size} MiB", "将超过 {size} MiB"),
    ("{name} is not a line of sha256sum: it is damaged", "{name} 不是 sha256sum 的格式：已损坏"),
    ("{name} is that of another file", "{name} 是另一个文件的校验和"),
    (
        "its SHA-256 is not the one written beside it: it is damaged",
        "SHA-256 与旁边记录的不一致：文件已损坏",
    ),
    ("it leads round in a circle or out of the root", "它绕成环，或指向根目录之外"),
    ("its target is not in the archive", "目标不在归档中"),
    ("it is not in the archive", "不在归档中"),
    ("tar cannot read it: {any}", "tar 无法读取：{any}"),
    ("not looked into: {any}", "没有检查内容：{any}"),
    ("larger than {size} MiB", "超过 {size} MiB"),
    ("more than {count} members", "成员超过 {count} 个"),
    ("more than {size} MiB unpacked", "解压后超过 {size} MiB"),
    ("no time left", "没有剩余时间"),
    # Whether certificate and key are a pair.
    ("the certificate file holds no certificate", "证书文件中没有证书"),
    ("the certificate cannot be read: {any}", "无法读取证书：{any}"),
    ("the key file holds no private key", "私钥文件中没有私钥"),
    ("the private key cannot be read", "无法读取私钥"),
    ("key and certificate do not belong together", "私钥与证书不匹配"),
    # A certificate file in one word (`FileProblem`).
    ("missing", "不存在"),
    ("dangling", "指向它的符号链接失效"),
    ("unreadable", "无法读取"),
    ("not_pem", "不是可用的 PEM"),
    ("malformed", "格式不对"),
    # Addresses, connections and mounts.
    ("{address} is not ip:port or unix:/path", "{address} 不是 ip:port 或 unix:/path"),
    ("{address} names no port", "{address} 没有端口"),
    ("{host} does not resolve: {any}", "无法解析 {host}：{any}"),
    ("the name does not exist (NXDOMAIN)", "域名不存在（NXDOMAIN）"),
    ("the name exists, but has no A or AAAA record", "域名存在，但没有 A 或 AAAA 记录"),
    ("the resolver refuses to answer for this name (REFUSED)", "DNS 服务器拒绝查询该域名（REFUSED）"),
    ("the resolver failed ({words})", "DNS 服务器出错（{words}）"),
    ("{name} is not a name that can be asked for", "{name} 不是可以查询的域名"),
    ("the peer closed the connection without an answer", "对端没有应答就关闭了连接"),
    (
        "the peer closed the connection in the middle of the answer's head",
        "对端在响应头中途关闭了连接",
    ),
    ("not an HTTP answer: {any}", "不是 HTTP 应答：{any}"),
    ("TLS handshake: the peer reset the connection", "TLS 握手：对端重置了连接"),
    ("TLS handshake: {any}", "TLS 握手：{any}"),
    ("the body was not complete after {seconds} s", "{seconds} 秒后响应体仍不完整"),
    ("the body broke off: {any}", "响应体中断：{any}"),
    ("the body ended after {count} of {total} bytes", "响应体在 {total} 字节中的第 {count} 字节结束"),
    ("wait ended early: {any}", "提前结束等待：{any}"),
    ("a part of the name is empty or longer than {size} bytes", "域名有一段为空，或超过 {size} 字节"),
    ("the name is longer than {size} bytes", "域名超过 {size} 字节"),
    ("a message of {size} bytes", "收到 {size} 字节的消息"),
    ("closed in the middle of an answer", "应答中途连接关闭"),
    ("/ itself cannot be covered", "无法覆盖 / 本身"),
    ("{directory} has more than {count} mounts below it", "{directory} 之下的挂载点超过 {count} 个"),
    ("the mounts are not seen: {any}", "无法查看挂载点：{any}"),
    ("earlier reads have not ended yet", "之前的读取尚未结束"),
    ("not read within {seconds} s", "{seconds} 秒内未能读取"),
    ("it makes the configuration larger than {size} MiB", "它使配置超过 {size} MiB"),
    # Command lines (click) and values of the settings (msgspec).
    ("no such command {name}. did you mean {other}?", "没有命令 {name}。是否指 {other}？"),
    (
        "no such command {name}. (did you mean one of: {other}?)",
        "没有命令 {name}。（是否指其中之一：{other}？）",
    ),
    ("no such command {name}.", "没有命令 {name}。"),
    ("no such option {name}. did you mean {other}?", "没有选项 {name}。是否指 {other}？"),
    (
        "no such option {name}. (did you mean one of: {other}?)",
        "没有选项 {name}。（是否指其中之一：{other}？）",
    ),
    ("no such option {name}. (possible options: {other})", "没有选项 {name}。（可能是：{other}）"),
    ("no such option {name}.", "没有选项 {name}。"),
    ("option {name} requires an argument.", "选项 {name} 需要一个值。"),
    ("option {name} does not take a value.", "选项 {name} 不带值。"),
    ("got unexpected extra argument ({words})", "多余的参数：{words}"),
    ("got unexpected extra arguments ({words})", "多余的参数：{words}"),
    ("missing argument {name}.", "缺少参数 {name}。"),
    ("missing option {name}.", "缺少选项 {name}。"),
    ("missing command.", "缺少命令。"),
    ("command line", "命令行"),
    ("invalid value for {name}: {any}", "{name} 的值无效：{any}"),
    ("{value} is not one of {values}.", "{value} 不在可选值 {values} 之中。"),
    ("{value} is not a valid integer.", "{value} 不是整数。"),
    ("{value} is not a valid integer range.", "{value} 不是整数。"),
    ("{value} is not a valid {kind}.", "{value} 不是有效的 {kind}。"),
    ("{value} is not in the range {range}.", "{value} 不在范围 {range} 之内。"),
    ("{kind} {value} does not exist.", "{kind} {value} 不存在。"),
    ("{value} is no header: write NAME: VALUE", "{value} 不是请求头：写法为 NAME: VALUE"),
    (
        "no site of this host is known: give the whole URL, http://NAME/PATH",
        "不知道本机的站点：请给出完整的 URL，http://NAME/PATH",
    ),
    (
        "{value} is no URL and no path: begin with http://, https:// or /",
        "{value} 既不是 URL 也不是路径：应以 http://、https:// 或 / 开头",
    ),
    ("{value} is no port: 1 to 65535", "{value} 不是端口：应为 1 到 65535"),
    (
        "{value} is no address: an IP address, with :PORT if it is another",
        "{value} 不是地址：应为 IP 地址，端口不同时加 :PORT",
    ),
    (
        "{value} is not a duration; write it like 10s, 15m, 36h or 7d",
        "{value} 不是时长；写法如 10s、15m、36h 或 7d",
    ),
    (
        "{value} is no time left; write it like 20d, 36h or 25%",
        "{value} 不是剩余时间；写法如 20d、36h 或 25%",
    ),
    ("expected {type}, got {other}", "应为 {type}，实际为 {other}"),
    ("expected {type}", "应为 {type}"),
    ("invalid enum value {value}", "不支持的值 {value}"),
    ("object missing required field {name}", "缺少必需的键 {name}"),
    ("object contains unknown field {name}", "含有未知的键 {name}"),
    # Two reasons, and a path before one.
    ("{path}: {why}; {why_too}", "{path}：{why}；{why_too}"),
    ("{path}: {why}", "{path}：{why}"),
)
_SYSTEM = {
    errno.EPERM: "不允许的操作",
    errno.ENOENT: "文件或目录不存在",
    errno.EIO: "输入/输出错误",
    errno.ENXIO: "设备不存在",
    errno.ENOEXEC: "不是可执行格式",
    errno.EAGAIN: "资源暂时不可用",
    errno.ENOMEM: "内存不足",
    errno.EACCES: "权限不足",
    errno.EBUSY: "设备或资源忙",
    errno.ENODEV: "设备不存在",
    errno.ENOTDIR: "不是目录",
    errno.EISDIR: "是目录",
    errno.EINVAL: "无效的参数",
    errno.ENFILE: "系统打开的文件过多",
    errno.EMFILE: "打开的文件过多",
    errno.ENOSPC: "磁盘空间不足",
    errno.EROFS: "只读文件系统",
    errno.EPIPE: "管道已断开",
    errno.ENAMETOOLONG: "文件名过长",
    errno.ELOOP: "符号链接层数过多",
    errno.ENETUNREACH: "网络不可达",
    errno.ECONNRESET: "连接被重置",
    errno.ETIMEDOUT: "连接超时",
    errno.ECONNREFUSED: "连接被拒绝",
    errno.EHOSTUNREACH: "主机不可达",
    errno.EADDRNOTAVAIL: "地址不可用",
    errno.ESTALE: "文件句柄已失效",
}
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
# A reason quotes at most the system's words in another's, behind a path.
_MAX_DEPTH = 4


def in_chinese(words: str) -> str | None:
    """``words`` in Chinese; None for a sentence of no known form."""
    return _chinese(words, 0)


def _chinese(words: str, depth: int) -> str | None:
    system = _system_words().get(words.lower())
    if system is not None or depth > _MAX_DEPTH:
        return system
    lowered = words.lower()
    for english, chinese in _ordered_forms():
        # To look for the fixed words first saves compiling all patterns, which would take longer than a diagnosis.
        match = (
            _pattern(english).fullmatch(words) if all(part in lowered for part in _fixed(english)) else None
        )
        if match is None:
            continue
        values = match.groupdict()
        for name, value in match.groupdict().items():
            if name.startswith("why"):
                values[name] = _chinese(value, depth + 1)
            elif name == "age":
                values[name] = in_chinese_units(value)
            elif name == "any":
                values[name] = _chinese(value, depth + 1) or value
        if None not in values.values():
            return chinese.format(**values)
    return None


@functools.cache
def _ordered_forms() -> tuple[tuple[str, str], ...]:
    """Whole sentences before those with a place for any words."""
    return tuple(sorted(_FORMS, key=lambda form: "{" in form[0]))


@functools.cache
def _fixed(english: str) -> tuple[str, ...]:
    return tuple(part.lower() for part in _PLACEHOLDER.split(english)[::2])


@functools.cache
def _pattern(english: str) -> re.Pattern[str]:
    parts = _PLACEHOLDER.split(english)
    # A path has no blank before its first slash: a sentence before one is not taken for it.
    plain = (
        re.escape(part)
        if number % 2 == 0
        else rf"(?P<{part}>/.+?|[^ ]+)"
        if part in ("path", "place", "directory")
        else f"(?P<{part}>.+?)"
        for number, part in enumerate(parts)
    )
    return re.compile("".join(plain), re.IGNORECASE | re.DOTALL)


@functools.cache
def _system_words() -> dict[str, str]:
    return {os.strerror(number).lower(): chinese for number, chinese in _SYSTEM.items()}
