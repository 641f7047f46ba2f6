/** What the widgets of the extension share: drawn anew when the model changes, quiet while nobody sees them. */

import { ReactWidget, UseSignal } from '@jupyterlab/ui-components';
import { Message } from '@lumino/messaging';
import * as React from 'react';

import { Shown } from './components/hooks';
import { PanelModel } from './model';

export abstract class View extends ReactWidget {
  constructor(
    protected readonly model: PanelModel,
    ...classes: string[]
  ) {
    super();
    classes.forEach(name => this.addClass(name));
  }

  /** What is in it, given the model as it is now. */
  protected abstract draw(): JSX.Element;

  /** Name the view for those who cannot see it. */
  protected name(label: string): void {
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', label);
  }

  render(): JSX.Element {
    return (
      <UseSignal signal={this.model.changed}>
        {() => {
          // What nobody sees stays as it was: React passes over an element that is the same.
          if (this.isVisible || !this._drawn) {
            this._drawn = this.draw();
          }
          return <Shown.Provider value={this.isVisible}>{this._drawn}</Shown.Provider>;
        }}
      </UseSignal>
    );
  }

  protected onAfterShow(msg: Message): void {
    super.onAfterShow(msg);
    this.update();
  }

  protected onAfterHide(msg: Message): void {
    super.onAfterHide(msg);
    this.update();
  }

  private _drawn: JSX.Element | null = null;
}
