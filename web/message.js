// One message of a conversation as a list item: its text, its thoughts, what it took, and what can be done with it.

import { button, copy, el, setText } from "./dom.js";
import { count, duration, speed } from "./format.js";
import { render } from "./markdown.js";

export class MessageView {
  /**
   * @param actions `{edit(message, text), retry(message)}`; the page decides what they do.
   * @param number what the message is called: "message 3".
   */
  constructor(message, number, actions) {
    this.message = message;
    this.number = number;
    this.actions = actions;
    this.isUser = message.role === "user";
    this.text = el("div", { class: "text" });
    this.foot = el("p", { class: "stats" });
    this.problem = el("p", { class: "problem", role: "alert", hidden: true });
    this.buttons = el("div", { class: "actions" });
    this.node = el(
      "li",
      { class: `message ${message.role}` },
      el("h2", { class: "sr" }, this.isUser ? "You" : "Answer"),
    );
    if (!this.isUser) this.#buildThoughts();
    this.node.append(this.text, this.problem, el("div", { class: "foot" }, this.foot, this.buttons));
    this.#buildButtons();
  }

  #buildThoughts() {
    this.thoughtText = el("div", { class: "text" });
    this.summary = el("summary", {}, "Thoughts");
    this.thoughts = el("details", { class: "thoughts", hidden: true }, this.summary, this.thoughtText);
    // whoever opens or closes them decides from then on
    this.summary.addEventListener("click", () => (this.isChosen = true));
    this.node.append(this.thoughts);
  }

  #buildButtons() {
    const small = { class: "quiet small" };
    const name = `${this.isUser ? "message" : "answer"} ${this.number}`;
    this.buttons.append(button("Copy", () => copy(this.message.content), { ...small, "aria-label": `Copy ${name}` }));
    if (this.isUser) {
      this.buttons.append(button("Edit", () => this.edit(), { ...small, "aria-label": `Edit ${name}` }));
    } else {
      this.buttons.append(
        button("Retry", () => this.actions.retry(this.message), { ...small, "aria-label": `Retry ${name}` }),
      );
    }
  }

  /** Draws what the message is now; `isRunning` while it is being written. */
  update(isRunning) {
    const { message } = this;
    if (this.isUser) {
      setText(this.text, message.content);
      return;
    }
    render(this.text, message.content);
    const isWaiting = isRunning && !message.content && !message.thinking;
    this.node.classList.toggle("waiting", isWaiting);
    this.node.setAttribute("aria-busy", String(isRunning));
    this.thoughts.hidden = !message.thinking;
    if (message.thinking) {
      const isThinking = isRunning && !message.content;
      setText(this.summary, isThinking ? "Thinking …" : "Thoughts");
      if (!this.isChosen) this.thoughts.open = isThinking;
      if (this.thoughts.open || !isThinking) render(this.thoughtText, message.thinking);
    }
    this.problem.hidden = !message.error;
    setText(this.problem, message.error);
    setText(this.foot, statsText(message));
    this.buttons.hidden = isRunning;
  }

  /** Turns a message of the person into a field. */
  edit() {
    const area = el("textarea", { rows: 3, "aria-label": `Message ${this.number}` });
    area.value = this.message.content;
    const close = () => {
      form.remove();
      this.text.hidden = this.buttons.hidden = false;
      this.buttons.querySelector("button:last-child").focus();
    };
    const send = () => {
      const text = area.value.trim();
      if (text) this.actions.edit(this.message, text);
    };
    const onkeydown = (event) => {
      if (event.key === "Escape") {
        event.stopPropagation();
        close();
      }
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        send();
      }
    };
    area.addEventListener("keydown", onkeydown);
    const buttons = el("div", { class: "buttons" }, button("Cancel", close, { class: "quiet" }), button("Send", send));
    const form = el(
      "div",
      { class: "editor" },
      area,
      el("p", { class: "hint" }, "What follows this message is written anew."),
      buttons,
    );
    this.text.hidden = this.buttons.hidden = true;
    this.text.after(form);
    area.focus();
  }
}

function statsText({ stats, stopped }) {
  const parts = [];
  if (stopped) parts.push("stopped");
  if (stats?.reason === "length") parts.push("cut off: the limit of tokens is reached");
  if (stats?.tokens) {
    parts.push(`${count(stats.tokens)} tokens`);
    if (stats.speed) parts.push(`${speed(stats.speed)} tokens/s`);
  }
  if (stats?.firstMs) parts.push(`first after ${duration(stats.firstMs)}`);
  if (stats?.prompt) {
    const known = stats.cached ? `, ${count(stats.cached)} known` : "";
    parts.push(`prompt ${count(stats.prompt)}${known}`);
  }
  return parts.join(" · ");
}
