/** The status bar's item: the shown cluster and how much of it is in use. */

import { CommandRegistry } from '@lumino/commands';
import * as React from 'react';

import { CommandIDs } from './commandids';
import { amount, share } from './format';
import { PanelModel } from './model';
import { t } from './text';
import { View } from './view';

export class StatusItem extends View {
  constructor(
    model: PanelModel,
    private _commands: CommandRegistry
  ) {
    super(model, 'rj-Status');
  }

  protected draw(): JSX.Element {
    return <Content model={this.model} commands={this._commands} />;
  }
}

function Content(props: { model: PanelModel; commands: CommandRegistry }): JSX.Element | null {
  const { model, commands } = props;
  const cluster = model.selected;
  if (!cluster) {
    return null;
  }
  const total = cluster.resources?.CPU ?? 0;
  // The live view knows better while somebody looks at it.
  const free = (model.snapshot?.resources_available ?? cluster.available)?.CPU ?? 0;
  const used = Math.max(0, total - free);
  const text =
    cluster.state === 'running' && cluster.resources
      ? `${cluster.name}: ${amount(used)} / ${amount(total)} CPU`
      : `${cluster.name}: ${cluster.state === 'unreachable' ? t('does not answer') : cluster.state}`;
  return (
    <button
      className="rj-Status-button"
      data-rayjup="status"
      title={t('Load of the rayjup cluster %1; click to show the panel', cluster.name)}
      onClick={() => void commands.execute(CommandIDs.open)}
    >
      <span className="rj-Status-bar" aria-hidden="true">
        <span style={{ height: `${share(used, total) * 100}%` }} />
      </span>
      {text}
    </button>
  );
}
