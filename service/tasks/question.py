"""Split a request for ``qa`` into context and question."""

from service.tasks.task import TaskInputError

SEPARATOR = "|"
# Characters around a sentence that are not part of it.
EDGES = " \t\r\n　。！？!?；;，,：:"


def split(text: str, question: str | None) -> tuple[str, str]:
    """Context and question: the parameter, or what follows the last ``|`` of the text.

    Raises:
        TaskInputError: there is no question, or no context.
    """
    context = text
    if question is None:
        context, separator, question = text.rpartition(SEPARATOR)
        if not separator:
            raise TaskInputError("parameters.question", 'give it, or write input_text as "context|question"')
    if not question.strip():
        raise TaskInputError("parameters.question", "the question is empty")
    if not context.strip(EDGES):
        raise TaskInputError("input_text", "the context is empty")
    return context, question.strip()
