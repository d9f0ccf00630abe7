"""Why the service's last start failed, by its own last words, and what mends that on this host. Pure."""

from ops.interpret.start_failure.advice import StartPlace as StartPlace
from ops.interpret.start_failure.advice import fix_for as fix_for
from ops.interpret.start_failure.advice import summary_of as summary_of
from ops.interpret.start_failure.kinds import PASSING as PASSING
from ops.interpret.start_failure.kinds import Kind as Kind
from ops.interpret.start_failure.kinds import StartFailure as StartFailure
from ops.interpret.start_failure.kinds import start_failure as start_failure
