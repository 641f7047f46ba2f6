/** The notebook toolbar's button that connects the notebook to a cluster. */

import { DocumentRegistry } from '@jupyterlab/docregistry';
import { INotebookModel, NotebookActions, NotebookPanel } from '@jupyterlab/notebook';
import { ToolbarButton } from '@jupyterlab/ui-components';
import { CommandRegistry } from '@lumino/commands';
import { IDisposable } from '@lumino/disposable';
import { Menu } from '@lumino/widgets';

import { CommandIDs } from './commandids';
import { rayjupIcon } from './icons';
import { joinCell, reference } from './join';
import { PanelModel } from './model';
import { t } from './text';
import type { IClusterSummary } from './types';

/** Put a cell that joins a cluster beneath the active one. */
export function insertJoinCell(panel: NotebookPanel, cluster: IClusterSummary, model: PanelModel): void {
  const kernel =
    panel.sessionContext.session?.kernel?.name ?? panel.sessionContext.kernelPreference.name ?? null;
  NotebookActions.insertBelow(panel.content);
  panel.content.activeCell?.model.sharedModel.setSource(
    joinCell(reference(cluster, model.clusters), kernel)
  );
}

/** The same, and run it: what connects the notebook is to be read in the notebook. */
export async function attach(panel: NotebookPanel, cluster: IClusterSummary, model: PanelModel): Promise<void> {
  insertJoinCell(panel, cluster, model);
  model.select(cluster.cluster_id);
  await NotebookActions.run(panel.content, panel.sessionContext);
}

export class AttachButton implements DocumentRegistry.IWidgetExtension<NotebookPanel, INotebookModel> {
  constructor(
    private _model: PanelModel,
    private _commands: CommandRegistry
  ) {}

  createNew(panel: NotebookPanel): IDisposable {
    const button = new ToolbarButton({
      className: 'rj-Attach',
      icon: rayjupIcon,
      tooltip: t('Connect this notebook to a rayjup cluster'),
      onClick: () => this._open(button)
    });
    panel.toolbar.insertBefore('spacer', 'rayjupAttach', button);
    return button;
  }

  private _open(button: ToolbarButton): void {
    const menu = new Menu({ commands: this._commands });
    for (const cluster of this._model.clusters) {
      menu.addItem({ command: CommandIDs.attach, args: { cluster: cluster.cluster_id } });
    }
    if (this._model.clusters.length > 0) {
      menu.addItem({ type: 'separator' });
    }
    menu.addItem({ command: CommandIDs.attach, args: { start: true } });
    menu.aboutToClose.connect(() => requestAnimationFrame(() => menu.dispose()));
    const { left, bottom } = button.node.getBoundingClientRect();
    menu.open(left, bottom);
  }
}
