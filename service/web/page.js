"use strict";
// Everything that comes from a text or an answer is put in as text (textContent), never as HTML.

const WORDS = {
  zh: {
    title: "中文 NLP 服务", task: "任务", text: "文本", send: "预测", docs: "接口文档", other: "English",
    hint: "Ctrl + Enter 发送", fill: "填入示例", took: "毫秒", scale: "余弦，从 −1 到 1；衡量主题是否相近，不衡量观点是否一致", ready: "就绪", labels: "标签（每行一个）", candidates: "候选文本（每行一个）",
    question: "问题", schema: "Schema（JSON，可不填）", key: "API 密钥", curl: "用 curl 发同样的请求",
    copy: "复制", copied: "已复制", notCopied: "浏览器不让复制：已选中，请按 Ctrl + C", raw: "原始 JSON",
    working: "正在预测……", unreachable: "服务没有应答：它可能正在重启，或网络不通", unavailable: "不可用",
    none: "没有找到", dimension: "维，前几个数：", badSchema: "Schema 不是 JSON：", retry: "秒后再试",
    subject: "主语", predicate: "关系", object: "宾语", role: "角色", what: "内容", trigger: "触发词", overlap: "重叠的",
    tasks: {
      ner: "命名实体识别", relation: "关系抽取", event: "事件抽取", sentiment: "情感分析", classification: "文本分类",
      qa: "阅读理解", embedding: "文本向量", similarity: "文本相似度",
    },
    labelNames: { positive: "正面", negative: "负面", neutral: "中性" },
    errors: {
      bad_json: "请求不是合法的 JSON", bad_request: "请求不合要求", unknown_task: "没有这个任务", text_too_long: "文本太长",
      batch_too_large: "一次的文本太多", payload_too_large: "请求太大", unauthorized: "需要 API 密钥",
      model_unavailable: "这个任务的模型不可用", overloaded: "服务正忙", timeout: "预测用时太久",
      rate_limited: "请求太频繁", internal: "服务出错了",
    },
  },
  en: {
    title: "Chinese NLP service", task: "Task", text: "Text", send: "Predict", docs: "API description",
    other: "中文", hint: "Ctrl + Enter sends", fill: "Fill in an example", took: "ms",
    scale: "Cosine, from −1 to 1: whether the topics are close, not whether the texts agree", ready: "ready", labels: "Labels (one a line)",
    candidates: "Candidates (one a line)", question: "Question", schema: "Schema (JSON, optional)", key: "API key",
    curl: "The same request with curl", copy: "Copy", copied: "Copied",
    notCopied: "The browser does not let this page copy: it is selected, press Ctrl + C", raw: "Raw JSON",
    working: "Predicting…", unreachable: "The service does not answer: it may be restarting, or the network is down",
    unavailable: "unavailable", none: "Nothing found", dimension: "dimensions; the first numbers:",
    badSchema: "The schema is not JSON: ", retry: "seconds from now, try again", subject: "Subject",
    predicate: "Relation", object: "Object", role: "Role", what: "Text", trigger: "trigger", overlap: "Overlapping",
    tasks: {
      ner: "named entities", relation: "relations", event: "events", sentiment: "sentiment",
      classification: "classification", qa: "question answering", embedding: "embedding", similarity: "similarity",
    },
    labelNames: {},
    errors: {
      bad_json: "The request is not valid JSON", bad_request: "The request does not fit", unknown_task: "There is no such task",
      text_too_long: "The text is too long", batch_too_large: "Too many texts at once", payload_too_large: "The request is too large",
      unauthorized: "An API key is needed", model_unavailable: "The model behind this task is not available",
      overloaded: "The service is busy", timeout: "The prediction took too long", rate_limited: "Too many requests",
      internal: "The service failed on this request",
    },
  },
};

const EXAMPLES = {
  ner: ["2022年北京冬奥会在北京举行"],
  relation: ["马云1964年出生于浙江省杭州市，1999年创办了阿里巴巴集团。"],
  event: ["2016年10月，吉利集团收购了沃尔沃汽车公司。2008年5月12日，四川汶川发生8.0级地震。"],
  sentiment: ["这家餐厅的菜非常好吃，服务也很热情"],
  classification: ["国足今晚迎战韩国队，主帅确定首发阵容", "体育\n财经\n科技"],
  similarity: ["今天天气真好", "天气真不错，阳光明媚\n量子计算机的纠错"],
  qa: ["马云1964年出生于浙江省杭州市。1999年，他创办了阿里巴巴集团。", "马云出生于哪一年？"],
  embedding: ["2022年北京冬奥会在北京举行"],
};

const PARAMETER = {
  ner: "schema", relation: "schema", event: "schema", classification: "labels", similarity: "candidates", qa: "question",
};
// A schema that fits the task's own example (docs/tasks.md).
const SCHEMAS = {
  ner: '{"地理位置": null, "时间": null}',
  relation: '{"人物": {"出生地(地理位置)": null}}',
  event: '{"收购(事件触发词)": {"收购方": null}}',
};
const HUES = { PERSON: 0, GPE: 1, LOC: 1, ORG: 2, EVENT: 3, TIME: 5, WORK_OF_ART: 6, MISC: 7 };
const SHOWN_NUMBERS = 6;
// A name goes to the next line as a whole if it fits into that of the smallest phone (288 CSS pixels) beside its label,
// by the widths of Chinese characters in both (page.css, .text and mark small).
const WHOLE = { line: 280, character: 18.4, label: 11.2, around: 20 };

const byId = (id) => document.getElementById(id);
const words = () => WORDS[language];
let language = (navigator.language || "zh").startsWith("zh") ? "zh" : "en";
let tasks = [];
let state; // what /ready said; null where nothing answers
let last = null; // what was answered last, so that it can be said again in the other language

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function say() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  document.title = `GTE · ${words().title}`;
  for (const place of document.querySelectorAll("[data-text]")) place.textContent = words()[place.dataset.text];
  byId("language").textContent = words().other;
  byId("language").lang = language === "zh" ? "en" : "zh-CN";
  const chosen = byId("task").value;
  byId("task").replaceChildren(...tasks.map((task) => {
    const name = words().tasks[task.task_type] || task.summary;
    // "similarity · similarity" says nothing twice.
    const isSaid = name === task.task_type || name === `${task.task_type}s`;
    const shown = isSaid ? name : `${task.task_type} · ${name}`;
    const option = element("option", `${shown}${task.available ? "" : `（${words().unavailable}）`}`);
    option.value = task.task_type;
    return option;
  }));
  if (chosen) byId("task").value = chosen;
  sayTask();
  sayState();
  byId("copied").textContent = "";
  if (last) last();
}

function sayTask() {
  const task = tasks.find((one) => one.task_type === byId("task").value);
  byId("model").textContent = task ? task.model || task.detail : "";
  const parameter = PARAMETER[byId("task").value];
  byId("extra").hidden = !parameter;
  byId("parameter-label").textContent = parameter ? words()[parameter] : "";
  byId("fill").hidden = parameter !== "schema";
  byId("parameter").placeholder = parameter === "schema" ? SCHEMAS[byId("task").value] : "";
  byId("parameter").rows = parameter === "schema" || parameter === "question" ? 1 : 3;
  sayCurl();
}

function showExample() {
  const [text, parameter] = EXAMPLES[byId("task").value] || [""];
  byId("text").value = text;
  byId("parameter").value = parameter || "";
  last = null;
  byId("answer").replaceChildren();
  byId("json").textContent = "";
  sayTask();
}

// The request that the form describes; throws a SyntaxError where the schema is no JSON.
function requestOf() {
  const task = byId("task").value;
  const request = { task_type: task, input_text: byId("text").value };
  const name = PARAMETER[task];
  const value = byId("parameter").value;
  if (name === "schema" && value.trim()) request.parameters = { schema: JSON.parse(value) };
  if (name === "question") request.parameters = { question: value };
  if (name === "labels" || name === "candidates") {
    request.parameters = { [name]: value.split("\n").filter((line) => line.trim()) };
  }
  return request;
}

function sayCurl() {
  let request;
  try {
    request = requestOf();
  } catch {
    return;
  }
  // For a POSIX shell; the key is left to its environment.
  const quoted = JSON.stringify(request).replaceAll("'", "'\\''");
  const key = byId("key").value ? ' -H "Authorization: Bearer $GTE_API_KEY"' : "";
  byId("curl").textContent =
    `curl -s ${location.origin}/predict -H 'Content-Type: application/json'${key} -d '${quoted}'`;
}

async function copy() {
  const line = byId("curl").textContent;
  try {
    await navigator.clipboard.writeText(line);
    byId("copied").textContent = words().copied;
  } catch {
    // Over plain HTTP there is no clipboard.
    const range = document.createRange();
    range.selectNodeContents(byId("curl"));
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    byId("copied").textContent = document.execCommand("copy") ? words().copied : words().notCopied;
  }
}

function hueOf(type) {
  if (type in HUES) return `hue${HUES[type]}`;
  let sum = 0;
  for (const character of type) sum += character.codePointAt(0);
  return `hue${sum % 8}`;
}

// A word and its label, which stays on the line of the word's last character.
function named(word, label) {
  if (!label) return [word];
  const characters = Array.from(word);
  const end = element("span", characters.pop(), "end");
  end.append(element("small", label));
  return [characters.join(""), end];
}

function marked(text, spans) {
  // Offsets count Unicode characters; JavaScript's strings count UTF-16 units.
  const characters = Array.from(text);
  const slice = (start, end) => characters.slice(start, end).join("");
  const shown = element("p", undefined, "text");
  const overlapping = [];
  let at = 0;
  for (const span of [...spans].sort((one, other) => one.start - other.start || other.end - one.end)) {
    if (span.start < at) {
      overlapping.push(span);
      continue;
    }
    if (span.start === span.end) continue;
    shown.append(slice(at, span.start));
    const mark = element("mark", undefined, hueOf(span.hue || span.type || ""));
    const width = WHOLE.around + WHOLE.character * (span.end - span.start) + WHOLE.label * (span.type || "").length;
    if (width <= WHOLE.line) mark.classList.add("whole");
    mark.append(...named(slice(span.start, span.end), span.type));
    shown.append(mark);
    at = span.end;
  }
  shown.append(slice(at));
  if (!overlapping.length) return [shown];
  return [shown, table([words().overlap, ""], overlapping.map((span) => [span.text, span.type || ""]))];
}

function table(head, rows, caption) {
  const made = element("table");
  if (caption) made.append(caption);
  if (head.some((cell) => cell)) {
    const top = element("tr");
    for (const cell of head) {
      const heading = element("th", cell);
      heading.scope = "col";
      top.append(heading);
    }
    made.append(top);
  }
  for (const cells of rows) {
    const row = element("tr");
    for (const cell of cells) {
      const place = element("td");
      place.append(cell);
      row.append(place);
    }
    made.append(row);
  }
  const wide = element("div", undefined, "wide");
  wide.append(made);
  return wide;
}

function typed(entity) {
  const cell = element("span");
  cell.append(...named(entity.text, entity.type));
  return cell;
}

// A bar on the whole scale from `least` to 1, which begins at 0.
function scored(value, least) {
  const cell = element("span", undefined, "scored");
  const bar = element("span", undefined, "bar");
  const filled = element("span");
  const part = (number) => (100 * (Math.min(1, Math.max(least, number)) - least)) / (1 - least);
  filled.style.left = `${part(Math.min(0, value))}%`;
  filled.style.width = `${part(Math.max(0, value)) - part(Math.min(0, value))}%`;
  bar.append(filled);
  if (least < 0) {
    const zero = element("i");
    zero.style.left = `${part(0)}%`;
    bar.append(zero);
  }
  bar.ariaHidden = "true";
  cell.append(bar, value.toFixed(4));
  return cell;
}

function oneEach(spans) {
  return [...new Map(spans.map((span) => [`${span.start}-${span.end}`, span])).values()];
}

const SHOWN = {
  ner: ({ entities }, text) => (entities.length ? marked(text, entities) : [words().none]),
  relation: ({ relations }, text) => {
    if (!relations.length) return [words().none];
    const rows = relations.map((one) => [typed(one.subject), one.predicate, typed(one.object)]);
    return [
      ...marked(text, oneEach(relations.flatMap((one) => [one.subject, one.object]))),
      table([words().subject, words().predicate, words().object], rows),
    ];
  },
  event: ({ events }, text) => {
    if (!events.length) return [words().none];
    const spans = events.flatMap((event) => [
      { ...event.trigger, hue: event.type, type: event.trigger.text === event.type ? words().trigger : event.type }, ...event.arguments.map((one) => ({ ...one, type: one.role })),
    ]);
    return [...marked(text, oneEach(spans)), ...events.map((event) => {
      const caption = element("caption", event.type);
      if (event.trigger.text !== event.type) {
        caption.append(" ", element("small", `${words().trigger} ${event.trigger.text}`));
      }
      return table([words().role, words().what], event.arguments.map((one) => [one.role, one.text]), caption);
    })];
  },
  qa: (result, text) => (result.answer
    ? [element("p", result.answer, "verdict"), ...marked(text, [result])] : [words().none]),
  similarity: ({ scores }, _text, { candidates }) =>
    [
      table(["", ""], candidates.map((candidate, index) => [candidate, scored(scores[index], -1)])),
      element("p", words().scale, "engine"),
    ],
  embedding: ({ embeddings, dimension }) => {
    const first = embeddings[0].slice(0, SHOWN_NUMBERS).map((number) => number.toFixed(4)).join(", ");
    return [element("p", `${dimension} ${words().dimension}`), element("pre", `[${first}, …]`)];
  },
};

function labelled({ label, scores }) {
  const inWords = (name) => words().labelNames[name] || name;
  const rows = Object.entries(scores).sort((one, other) => other[1] - one[1]);
  return [
    element("p", inWords(label), "verdict"),
    table(["", ""], rows.map(([name, score]) => [inWords(name), scored(score, 0)])),
  ];
}

// `milliseconds`: from the click to the whole answer, the network included.
function showAnswer(request, answer, milliseconds) {
  const show = SHOWN[request.task_type] || labelled;
  const took = `${milliseconds < 10 ? milliseconds.toFixed(1) : Math.round(milliseconds)} ${words().took}`;
  // The model stands under the task already, unless another one answered.
  const model = answer.model === byId("model").textContent ? "" : ` · ${answer.model}`;
  byId("answer").replaceChildren(
    ...show(answer.result, request.input_text, request.parameters || {}), element("p", took + model, "engine"),
  );
}

function showError(problem, retryAfter) {
  const meaning = words().errors[problem.code] || problem.title || problem.status || words().unreachable;
  const parts = [element("p", meaning, "error")];
  if (problem.detail) parts.push(element("p", problem.detail));
  if (retryAfter) parts.push(element("p", `${retryAfter} ${words().retry}`));
  // What the operator finds it by: docs/errors, the logs.
  const marks = [problem.status, problem.code, problem.request_id].filter((mark) => mark);
  if (marks.length) parts.push(element("p", marks.join(" · "), "engine"));
  byId("answer").replaceChildren(...parts);
}

function headers() {
  const key = byId("key").value;
  return key ? { Authorization: `Bearer ${key}` } : {};
}

// An answer that says no in JSON, whether it stands alone or under "error" as in OpenAI's API.
async function ask(path, options) {
  const response = await fetch(path, { ...options, headers: { ...options?.headers, ...headers() } });
  const answer = await response.json().catch(() => ({ status: response.status }));
  if (response.status === 401) {
    byId("access").hidden = false;
  }
  return { response, answer };
}

async function predict(event) {
  event?.preventDefault();
  if (byId("send").disabled) return;
  let request;
  try {
    request = requestOf();
  } catch (error) {
    last = () => byId("answer").replaceChildren(element("p", words().badSchema + error.message, "error"));
    last();
    byId("parameter").focus();
    return;
  }
  sayCurl();
  byId("answer").replaceChildren(words().working);
  byId("send").disabled = true;
  const began = performance.now();
  try {
    const { response, answer } = await ask("/predict", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(request),
    });
    const milliseconds = performance.now() - began;
    byId("json").textContent = JSON.stringify(answer, null, 1);
    last = response.ok
      ? () => showAnswer(request, answer, milliseconds)
      : () => showError(answer, response.headers.get("Retry-After"));
    if (response.status === 401) byId("key").focus();
  } catch {
    last = () => showError({});
  } finally {
    byId("send").disabled = false;
  }
  last();
}

function sayState() {
  if (state === undefined) return;
  byId("state").textContent = state === null ? words().unreachable : state.ready ? words().ready : state.detail;
}

async function showState() {
  try {
    state = (await ask("/ready")).answer;
  } catch {
    state = null;
  }
  sayState();
}

async function loadTasks() {
  try {
    tasks = (await ask("/tasks")).answer.tasks || [];
  } catch {
    tasks = [];
  }
  // Without the list there is still the form: the service says what is wrong with a request.
  if (!tasks.length) tasks = Object.keys(EXAMPLES).map((name) => ({ task_type: name, available: true }));
}

async function start() {
  byId("form").addEventListener("submit", predict);
  byId("form").addEventListener("input", sayCurl);
  byId("form").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) predict(event);
  });
  byId("task").addEventListener("change", showExample);
  byId("fill").addEventListener("click", () => {
    byId("parameter").value = SCHEMAS[byId("task").value];
    sayCurl();
    byId("parameter").focus();
  });
  byId("copy").addEventListener("click", copy);
  byId("key").addEventListener("change", async () => {
    await loadTasks();
    say();
  });
  byId("language").addEventListener("click", () => {
    language = language === "zh" ? "en" : "zh";
    say();
  });
  say();
  showState();
  await loadTasks();
  say();
  showExample();
  document.body.dataset.started = "yes";
}

start();
