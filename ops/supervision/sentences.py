"""Faults, actions and states in both languages: for messages, `status` and systemd."""

from __future__ import annotations

from ops.supervision.state import ActionKind, Fault, ServiceState
from ops.text.language import Text

FAULTS: dict[Fault, Text] = {
    Fault.MASTER_GONE: Text(en="gunicorn's master is gone", zh="gunicorn 主进程已消失"),
    Fault.MASTER_STOPPED: Text(en="gunicorn's master is stopped", zh="gunicorn 主进程被暂停"),
    Fault.MASTER_HUNG: Text(en="gunicorn's master is hung", zh="gunicorn 主进程卡死"),
    Fault.NO_WORKERS: Text(en="the master has no workers", zh="主进程没有工作进程"),
    Fault.WORKER_STOPPED: Text(en="a worker is stopped", zh="有工作进程被暂停"),
    Fault.WORKER_HUNG: Text(en="a worker is hung", zh="有工作进程卡死"),
    Fault.WORKER_BLOCKED: Text(en="a worker's event loop is blocked", zh="有工作进程的事件循环被阻塞"),
    Fault.WORKER_LIVELOCK: Text(en="a worker spins without completing anything", zh="有工作进程空转"),
    Fault.WORKER_BOOT_HUNG: Text(en="a worker is stuck while booting", zh="有工作进程卡在启动阶段"),
    Fault.WORKER_PARTIALLY_STUCK: Text(
        en="some threads of a worker are stuck", zh="有工作进程的部分线程卡住"
    ),
    Fault.WORKER_LEAKING: Text(en="a worker leaks memory", zh="有工作进程内存泄漏"),
    Fault.WORKER_SUSPECT: Text(en="a worker may be stuck", zh="有工作进程可能卡住"),
    Fault.OVERLOAD: Text(
        en="nothing completes: overload, or all workers stuck", zh="没有请求完成：过载或全部卡住"
    ),
    Fault.NOT_ANSWERING: Text(en="the service does not answer", zh="服务没有应答"),
    Fault.HEALTH_FAILS: Text(en="/health reports failure", zh="/health 报告失败"),
    Fault.NOT_READY: Text(en="the service is not ready", zh="服务未就绪"),
    Fault.PORT_CONFLICT: Text(en="another program holds the service's port", zh="其他程序占用了服务端口"),
    Fault.HOLDER_UNSEEN: Text(en="no master is seen", zh="看不到主进程"),
    Fault.ENVIRONMENT_CHANGED: Text(
        en="the service was started again, but not as it ran before",
        zh="服务已重新启动，但与之前的运行环境不一致",
    ),
    Fault.SATURATED: Text(en="the service is saturated", zh="服务已饱和"),
    Fault.BOOTING: Text(en="the service is booting", zh="服务正在启动"),
    Fault.OWN_TROUBLE: Text(en="the watchdog could not judge", zh="watchdog 无法判断"),
    Fault.DEBUGGED: Text(en="a debugger holds the service", zh="调试器正跟踪服务进程"),
}

ACTIONS: dict[ActionKind, Text] = {
    ActionKind.CONTINUE_MASTER: Text(en="continued the stopped master", zh="恢复被暂停的主进程"),
    ActionKind.TERMINATE_WORKER: Text(en="asked the worker to end", zh="请求工作进程退出"),
    ActionKind.KILL_WORKER: Text(en="killed the worker", zh="终止工作进程"),
    ActionKind.RELOAD: Text(en="reloaded gunicorn", zh="重新加载 gunicorn"),
    ActionKind.RESTART: Text(en="restarted gunicorn", zh="重启 gunicorn"),
}

STATES: dict[ServiceState, Text] = {
    ServiceState.HEALTHY: Text(en="healthy", zh="健康"),
    ServiceState.SATURATED: Text(en="saturated", zh="饱和"),
    ServiceState.BOOTING: Text(en="booting", zh="启动中"),
    ServiceState.SUSPECT: Text(en="suspect", zh="可疑"),
    ServiceState.FAILING: Text(en="failing", zh="故障"),
    ServiceState.PORT_CONFLICT: Text(en="port taken", zh="端口被占用"),
    ServiceState.UNDETERMINED: Text(en="could not judge", zh="无法判断"),
    ServiceState.NOT_OBSERVED: Text(en="not checked yet", zh="尚未检查"),
}
