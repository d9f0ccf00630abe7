"""The names of faults and rungs, in both languages: for messages, `status` and the log."""

from __future__ import annotations

from ops.text.language import Text

FAULTS: dict[str, Text] = {
    "master_gone": Text(en="gunicorn's master is gone", zh="gunicorn 主进程已消失"),
    "master_stopped": Text(en="gunicorn's master is stopped", zh="gunicorn 主进程被暂停"),
    "master_hung": Text(en="gunicorn's master is hung", zh="gunicorn 主进程卡死"),
    "no_workers": Text(en="the master has no workers", zh="主进程没有工作进程"),
    "worker_stopped": Text(en="a worker is stopped", zh="有工作进程被暂停"),
    "worker_hung": Text(en="a worker is hung", zh="有工作进程卡死"),
    "worker_livelock": Text(en="a worker spins without completing anything", zh="有工作进程空转"),
    "worker_boot_hung": Text(en="a worker is stuck while booting", zh="有工作进程卡在启动阶段"),
    "worker_partly": Text(en="some threads of a worker are stuck", zh="有工作进程的部分线程卡住"),
    "worker_memory": Text(en="a worker eats up the memory", zh="有工作进程即将耗尽内存"),
    "worker_suspect": Text(en="a worker may be stuck", zh="有工作进程可能卡住"),
    "overload": Text(
        en="nothing completes: overload, or all workers stuck", zh="没有请求完成：过载或全部卡住"
    ),
    "not_answering": Text(en="the service does not answer", zh="服务没有应答"),
    "health_fails": Text(en="/health reports failure", zh="/health 报告失败"),
    "not_ready": Text(en="the service is not ready", zh="服务未就绪"),
    "port_taken": Text(en="another program holds the service's port", zh="其他程序占用了服务端口"),
    "holder_unseen": Text(en="no master is seen", zh="看不到主进程"),
    "environment_changed": Text(
        en="the service was started again, but not as it ran before",
        zh="服务已重新启动，但与之前的运行环境不一致",
    ),
    "saturated": Text(en="the service is saturated", zh="服务已饱和"),
    "booting": Text(en="the service is booting", zh="服务正在启动"),
    "own_trouble": Text(en="the watchdog could not judge", zh="守护程序无法判断"),
    "traced": Text(en="a debugger holds the service", zh="调试器正跟踪服务进程"),
}

RUNGS: dict[str, Text] = {
    "continue_master": Text(en="continued the stopped master", zh="恢复被暂停的主进程"),
    "terminate_worker": Text(en="asked the worker to end", zh="请求工作进程退出"),
    "kill_worker": Text(en="killed the worker", zh="终止工作进程"),
    "reload": Text(en="reloaded gunicorn", zh="重载 gunicorn"),
    "restart": Text(en="restarted gunicorn", zh="重启 gunicorn"),
}

STATES: dict[str, Text] = {
    "healthy": Text(en="healthy", zh="健康"),
    "saturated": Text(en="saturated", zh="饱和"),
    "booting": Text(en="booting", zh="启动中"),
    "suspect": Text(en="suspect", zh="可疑"),
    "failing": Text(en="failing", zh="故障"),
    "foreign": Text(en="port taken", zh="端口被占用"),
    "unjudged": Text(en="could not judge", zh="无法判断"),
    "unknown": Text(en="never looked", zh="尚未检查"),
}
