/** Everything the panel does, as commands, so that the palette and shortcuts can do it too. */

import { JupyterFrontEnd } from '@jupyterlab/application';
import { Clipboard, Dialog, ICommandPalette, Notification, showDialog } from '@jupyterlab/apputils';
import { INotebookTracker, NotebookActions } from '@jupyterlab/notebook';
import { addIcon, copyIcon, stopIcon } from '@jupyterlab/ui-components';

import { rayjupIcon } from './icons';
import { joinCell, joinCode, reference } from './join';
import { PanelModel } from './model';
import type { IClusterSummary, IStartOptions } from './types';

export namespace CommandIDs {
  export const open = 'rayjup:open-panel';
  export const start = 'rayjup:start-cluster';
  export const stop = 'rayjup:stop-cluster';
  export const stopAll = 'rayjup:stop-all-clusters';
  export const insertCell = 'rayjup:insert-join-cell';
  export const copyCode = 'rayjup:copy-join-code';
}

export const PANEL_ID = 'rayjup-panel';

export function addCommands(
  app: JupyterFrontEnd,
  model: PanelModel,
  notebooks: INotebookTracker | null,
  palette: ICommandPalette | null
): void {
  const { commands, shell } = app;
  // Without an argument a command means the cluster that is shown.
  const target = (args: { cluster?: unknown }): IClusterSummary | null =>
    model.clusters.find(c => c.cluster_id === args.cluster) ?? (args.cluster ? null : model.selected);

  commands.addCommand(CommandIDs.open, {
    label: 'Show the rayjup Panel',
    icon: rayjupIcon,
    execute: () => shell.activateById(PANEL_ID)
  });
  commands.addCommand(CommandIDs.start, {
    label: 'Start a Cluster',
    caption: 'Start a rayjup cluster on this machine',
    icon: addIcon,
    execute: async args => {
      const options: IStartOptions = (args.options as IStartOptions | undefined) ?? {};
      shell.activateById(PANEL_ID);
      return model.start(options);
    }
  });
  commands.addCommand(CommandIDs.stop, {
    label: 'Stop the Shown Cluster',
    icon: stopIcon,
    isEnabled: args => target(args) !== null,
    execute: async args => {
      const cluster = target(args);
      if (cluster && (await confirmStop([cluster]))) {
        await reporting(`Could not stop ${cluster.name}`, () => model.stop(cluster.cluster_id));
      }
    }
  });
  commands.addCommand(CommandIDs.stopAll, {
    label: 'Stop All Clusters',
    icon: stopIcon,
    isEnabled: () => model.clusters.length > 0,
    execute: async () => {
      if (await confirmStop(model.clusters)) {
        await reporting('Could not stop all clusters', () => model.stopAll());
      }
    }
  });
  commands.addCommand(CommandIDs.insertCell, {
    label: 'Insert a Cell That Joins the Shown Cluster',
    caption: 'Insert a %ray_init cell into the current notebook',
    isEnabled: args => target(args) !== null && !!notebooks?.currentWidget,
    execute: args => {
      const cluster = target(args);
      const panel = notebooks?.currentWidget;
      if (!cluster || !panel) {
        return;
      }
      const kernel = panel.sessionContext.kernelPreference.name ?? null;
      const running = panel.sessionContext.session?.kernel?.name ?? kernel;
      const notebook = panel.content;
      NotebookActions.insertBelow(notebook);
      notebook.activeCell?.model.sharedModel.setSource(
        joinCell(reference(cluster, model.clusters), running)
      );
      shell.activateById(panel.id);
    }
  });
  commands.addCommand(CommandIDs.copyCode, {
    label: 'Copy Code That Joins the Shown Cluster',
    icon: copyIcon,
    isEnabled: args => target(args) !== null,
    execute: args => {
      const cluster = target(args);
      if (cluster) {
        Clipboard.copyToSystem(joinCode(reference(cluster, model.clusters)));
        Notification.success(`Copied the code that joins ${cluster.name}.`, { autoClose: 2500 });
      }
    }
  });

  model.changed.connect(() => commands.notifyCommandChanged(CommandIDs.stop));
  notebooks?.currentChanged.connect(() => commands.notifyCommandChanged(CommandIDs.insertCell));
  for (const command of Object.values(CommandIDs)) {
    palette?.addItem({ command, category: 'rayjup' });
  }
}

async function confirmStop(clusters: IClusterSummary[]): Promise<boolean> {
  const names = clusters.map(c => c.name).join(', ');
  const result = await showDialog({
    title: clusters.length === 1 ? `Stop cluster “${names}”?` : `Stop ${clusters.length} clusters?`,
    body:
      (clusters.length === 1 ? '' : `${names}. `) +
      'Running tasks are cancelled; actors and stored objects are lost.',
    buttons: [Dialog.cancelButton(), Dialog.warnButton({ label: 'Stop' })]
  });
  return result.button.accept;
}

async function reporting(what: string, call: () => Promise<void>): Promise<void> {
  try {
    await call();
  } catch (error) {
    Notification.error(`${what}: ${error instanceof Error ? error.message : error}`, { autoClose: false });
  }
}
