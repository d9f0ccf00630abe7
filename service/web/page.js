"use strict";
// Everything that comes from a text or an answer is put in as text (textContent), never as HTML.

const WORDS = {
  zh: {
    title: "中文 NLP 服务", task: "任务", text: "文本", send: "预测", docs: "接口文档", other: "English",
    ready: "就绪", labels: "标签（每行一个）", candidates: "候选文本（每行一个）", question: "问题",
    working: "正在预测……", unreachable: "服务没有应答", unavailable: "不可用", none: "没有找到实体", dimension: "维",
  },
  en: {
    title: "Chinese NLP service", task: "Task", text: "Text", send: "Predict", docs: "API description",
    other: "中文", ready: "ready", labels: "Labels (one a line)", candidates: "Candidates (one a line)",
    question: "Question", working: "Predicting…", unreachable: "The service does not answer",
    unavailable: "unavailable", none: "No entities found", dimension: "dimensions",
  },
};

const EXAMPLES = {
  ner: ["2022年北京冬奥会在北京举行"],
  sentiment: ["这家餐厅的菜非常好吃，服务也很热情"],
  classification: ["国足今晚迎战韩国队，主帅确定首发阵容", "体育\n财经\n科技"],
  similarity: ["今天天气真好", "天气真不错，阳光明媚\n量子计算机的纠错"],
  qa: ["马云1964年出生于浙江省杭州市。1999年，他创办了阿里巴巴集团。", "马云出生于哪一年？"],
  embedding: ["2022年北京冬奥会在北京举行"],
};

const PARAMETER = { classification: "labels", similarity: "candidates", qa: "question" };

const byId = (id) => document.getElementById(id);
let language = (navigator.language || "zh").startsWith("zh") ? "zh" : "en";
let tasks = [];

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function say(words) {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const place of document.querySelectorAll("[data-text]")) place.textContent = words[place.dataset.text];
  byId("language").textContent = words.other;
  const chosen = byId("task").value;
  byId("task").replaceChildren(...tasks.map((task) => {
    const option = element("option", task.task_type + (task.available ? "" : ` (${words.unavailable})`));
    option.value = task.task_type;
    option.disabled = !task.available;
    return option;
  }));
  if (chosen) byId("task").value = chosen;
  const parameter = PARAMETER[byId("task").value];
  byId("extra").hidden = !parameter;
  byId("parameter-label").textContent = parameter ? words[parameter] : "";
}

function showExample() {
  const [text, parameter] = EXAMPLES[byId("task").value] || [""];
  byId("text").value = text;
  byId("parameter").value = parameter || "";
  say(WORDS[language]);
}

function marked(text, spans) {
  // Offsets count Unicode characters; JavaScript's strings count UTF-16 units.
  const characters = Array.from(text);
  const slice = (start, end) => characters.slice(start, end).join("");
  const parts = [];
  let at = 0;
  for (const span of spans) {
    parts.push(slice(at, span.start));
    const mark = element("mark", slice(span.start, span.end));
    if (span.type) mark.append(element("small", span.type));
    parts.push(mark);
    at = span.end;
  }
  parts.push(slice(at));
  return parts;
}

function table(rows) {
  const made = element("table");
  for (const [name, value] of rows) {
    const row = element("tr");
    row.append(element("td", name), element("td", typeof value === "number" ? value.toFixed(4) : String(value)));
    made.append(row);
  }
  return made;
}

function shown(task, text, parameter, result) {
  const words = WORDS[language];
  if (task === "ner") return result.entities.length ? marked(text, result.entities) : [words.none];
  if (task === "qa") return marked(text, [{ start: result.start, end: result.end }]);
  if (result.label) return [element("strong", result.label), table(Object.entries(result.scores))];
  if (task === "similarity") return [table(parameter.map((candidate, index) => [candidate, result.scores[index]]))];
  return [`${result.dimension} ${words.dimension}`];
}

function parameterOf(task) {
  const name = PARAMETER[task];
  const value = byId("parameter").value;
  if (!name) return null;
  return name === "question" ? value : value.split("\n").filter((line) => line.trim());
}

async function predict(event) {
  event.preventDefault();
  const words = WORDS[language];
  const task = byId("task").value;
  const text = byId("text").value;
  const parameter = parameterOf(task);
  const request = { task_type: task, input_text: text };
  if (parameter !== null) request.parameters = { [PARAMETER[task]]: parameter };
  byId("answer").replaceChildren(words.working);
  byId("send").disabled = true;
  try {
    const response = await fetch("/predict", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(request),
    });
    const answer = await response.json();
    byId("json").textContent = JSON.stringify(answer, null, 1);
    byId("answer").replaceChildren(...(response.ok
      ? [...shown(task, text, parameter, answer.result), element("p", answer.model)]
      : [element("p", `${answer.title || response.status}: ${answer.detail || ""}`, "error")]));
  } catch {
    byId("answer").replaceChildren(element("p", words.unreachable, "error"));
  } finally {
    byId("send").disabled = false;
  }
}

async function showState() {
  try {
    const ready = await (await fetch("/ready")).json();
    byId("state").textContent = ready.ready ? WORDS[language].ready : ready.detail;
  } catch {
    byId("state").textContent = WORDS[language].unreachable;
  }
}

async function start() {
  byId("form").addEventListener("submit", predict);
  byId("task").addEventListener("change", showExample);
  byId("language").addEventListener("click", () => {
    language = language === "zh" ? "en" : "zh";
    say(WORDS[language]);
    showState();
  });
  say(WORDS[language]);
  showState();
  try {
    tasks = (await (await fetch("/tasks")).json()).tasks;
  } catch {
    tasks = [];
  }
  say(WORDS[language]);
  showExample();
}

start();
