/** The panel in a page, on a server of the test's. */

import { CommandRegistry } from '@lumino/commands';
import { MessageLoop } from '@lumino/messaging';
import { Widget } from '@lumino/widgets';

import { ClustersApi } from '../../src/api';
import { CommandIDs } from '../../src/commandids';
import { PanelModel } from '../../src/model';
import { PaneWidget } from '../../src/pane';
import { RayjupPanel } from '../../src/panel';
import { paneOf } from '../../src/panes';
import { Server } from './server';

export class Page {
  readonly model: PanelModel;
  readonly panel: RayjupPanel;
  /** Commands that were executed, with their arguments. */
  readonly executed: [string, any][] = [];
  readonly commands = new CommandRegistry();

  constructor(
    readonly server: Server,
    withPanel = true
  ) {
    this.model = new PanelModel(new ClustersApi(server.settings));
    for (const id of Object.values(CommandIDs)) {
      this.commands.addCommand(id, { execute: args => void this.executed.push([id, args]) });
    }
    this.panel = new RayjupPanel(this.model, this.commands);
    if (withPanel) {
      Widget.attach(this.panel, document.body);
    }
    this.model.open();
  }

  /** A pane of its own beside the panel. */
  open(name: string): PaneWidget {
    const pane = new PaneWidget(this.model, paneOf(name)!);
    Widget.attach(pane, document.body);
    this._panes.push(pane);
    return pane;
  }

  close(): void {
    this._panes.forEach(pane => pane.dispose());
    this.panel.dispose();
    this.model.dispose();
    document.body.replaceChildren();
  }

  get text(): string {
    return document.body.textContent ?? '';
  }

  all(selector: string): HTMLElement[] {
    return [...document.body.querySelectorAll<HTMLElement>(selector)];
  }

  /** The element that the end-to-end tests find by this name, too. */
  async named(name: string): Promise<HTMLElement> {
    return this.find(`[data-rayjup=${name}]`);
  }

  async find(selector: string): Promise<HTMLElement> {
    await until(() => this.all(selector).length > 0, `${selector} in ${this.text.slice(0, 300)}`);
    return this.all(selector)[0];
  }

  async click(name: string): Promise<void> {
    (await this.named(name)).click();
    await turn();
  }

  async says(text: string): Promise<void> {
    await until(() => this.text.includes(text), `“${text}” in ${this.text.slice(0, 500)}`);
  }

  /** Type into a field of a form, as React wants it. */
  async type(name: string, value: string): Promise<void> {
    const field = (await this.find(`[name=${name}]`)) as HTMLInputElement;
    const prototype = Object.getPrototypeOf(field);
    Object.getOwnPropertyDescriptor(prototype, 'value')!.set!.call(field, value);
    field.dispatchEvent(new Event(field instanceof HTMLSelectElement ? 'change' : 'input', { bubbles: true }));
    await turn();
  }

  private _panes: PaneWidget[] = [];
}

/** Let everything happen that is about to. */
export async function turn(): Promise<void> {
  MessageLoop.flush();
  await new Promise(resolve => setTimeout(resolve, 0));
  MessageLoop.flush();
}

export async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!condition()) {
    if (Date.now() > deadline) {
      throw new Error(`not within 10 s: ${what}`);
    }
    await turn();
  }
}
