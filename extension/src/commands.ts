/** Everything the panel does, as commands, so that the palette and shortcuts can do it too. */

import { JupyterFrontEnd } from '@jupyterlab/application';
import { Clipboard, Dialog, ICommandPalette, Notification, showDialog } from '@jupyterlab/apputils';
import { INotebookTracker } from '@jupyterlab/notebook';
import { addIcon, copyIcon, launchIcon, refreshIcon, stopIcon } from '@jupyterlab/ui-components';

import { attach, insertJoinCell } from './attach';
import { CommandIDs, PANEL_ID } from './commandids';
import { rayjupIcon } from './icons';
import { joinCode, reference } from './join';
import { PanelModel } from './model';
import { PANES, paneOf } from './panes';
import { t, tn } from './text';
import type { IClusterSummary, IStartOptions } from './types';

export function addCommands(
  app: JupyterFrontEnd,
  model: PanelModel,
  notebooks: INotebookTracker | null,
  palette: ICommandPalette | null,
  openPane: (name: string) => void
): void {
  const { commands, shell } = app;
  // Without an argument a command means the cluster that is shown.
  const target = (args: { cluster?: unknown }): IClusterSummary | null =>
    model.clusters.find(c => c.cluster_id === args.cluster) ?? (args.cluster ? null : model.selected);

  commands.addCommand(CommandIDs.open, {
    label: t('Show the rayjup Panel'),
    icon: rayjupIcon,
    execute: () => shell.activateById(PANEL_ID)
  });
  commands.addCommand(CommandIDs.start, {
    label: t('Start a Cluster'),
    caption: t('Start a rayjup cluster on this machine'),
    icon: addIcon,
    execute: async args => {
      const options: IStartOptions = (args.options as IStartOptions | undefined) ?? {};
      shell.activateById(PANEL_ID);
      return model.start(options);
    }
  });
  commands.addCommand(CommandIDs.restart, {
    label: t('Restart the Shown Cluster'),
    caption: t('Stop it, and start one with the same name and resources'),
    icon: refreshIcon,
    isEnabled: args => target(args) !== null,
    execute: async args => {
      const cluster = target(args);
      if (cluster && (await confirmStop([cluster], t('Restart')))) {
        await reporting(t('Could not restart %1', cluster.name), () => model.restart(cluster));
      }
    }
  });
  commands.addCommand(CommandIDs.openPane, {
    label: args => {
      const pane = paneOf(args.pane);
      return pane ? t('Show %1 of the Cluster', t(pane.title)) : t('Show a Pane of the Cluster');
    },
    icon: rayjupIcon,
    execute: args => {
      if (!paneOf(args.pane)) {
        throw new Error(`rayjup has no pane ${String(args.pane)}: ${PANES.map(p => p.name).join(', ')}`);
      }
      openPane(String(args.pane));
    }
  });
  commands.addCommand(CommandIDs.openDashboard, {
    label: t('Open the Dashboard of the Shown Cluster'),
    icon: launchIcon,
    isEnabled: args => target(args) !== null,
    execute: async args => {
      const cluster = target(args);
      if (cluster) {
        // Browsers let only clicks open windows, so it is opened before the server is asked.
        const tab = window.open('', '_blank');
        await reporting(t('Could not open the dashboard of %1', cluster.name), async () => {
          try {
            const address = await model.api.dashboard(cluster.cluster_id);
            if (tab) {
              tab.opener = null;
              tab.location.href = address;
            }
          } catch (error) {
            tab?.close();
            throw error;
          }
        });
      }
    }
  });
  commands.addCommand(CommandIDs.copyAddress, {
    label: t('Copy the Address of the Shown Cluster'),
    icon: copyIcon,
    isEnabled: args => target(args) !== null,
    execute: args => {
      const cluster = target(args);
      if (cluster) {
        Clipboard.copyToSystem(cluster.address);
        Notification.success(t('Copied the address of %1.', cluster.name), { autoClose: 2500 });
      }
    }
  });
  commands.addCommand(CommandIDs.attach, {
    label: args =>
      args.start
        ? t('Start a Cluster and Connect This Notebook')
        : t('Connect This Notebook to %1', target(args)?.name ?? t('the Shown Cluster')),
    icon: args => (args.start ? addIcon : rayjupIcon),
    isEnabled: args => !!notebooks?.currentWidget && (!!args.start || target(args) !== null),
    execute: async args => {
      const panel = notebooks?.currentWidget;
      if (!panel) {
        return;
      }
      if (args.start && !(await model.start({}))) {
        Notification.error(model.startError?.message ?? t('The cluster could not be started'));
        return;
      }
      const cluster = args.start ? model.selected : target(args);
      if (cluster) {
        await attach(panel, cluster, model);
      }
    }
  });
  commands.addCommand(CommandIDs.stop, {
    label: t('Stop the Shown Cluster'),
    icon: stopIcon,
    isEnabled: args => target(args) !== null,
    execute: async args => {
      const cluster = target(args);
      if (cluster && (await confirmStop([cluster]))) {
        await reporting(t('Could not stop %1', cluster.name), () => model.stop(cluster.cluster_id));
      }
    }
  });
  commands.addCommand(CommandIDs.stopAll, {
    label: t('Stop All Clusters'),
    icon: stopIcon,
    isEnabled: () => model.clusters.length > 0,
    execute: async () => {
      if (await confirmStop(model.clusters)) {
        await reporting(t('Could not stop all clusters'), () => model.stopAll());
      }
    }
  });
  commands.addCommand(CommandIDs.insertCell, {
    label: t('Insert a Cell That Joins the Shown Cluster'),
    caption: t('Insert a %ray_init cell into the current notebook'),
    isEnabled: args => target(args) !== null && !!notebooks?.currentWidget,
    execute: args => {
      const cluster = target(args);
      const panel = notebooks?.currentWidget;
      if (!cluster || !panel) {
        return;
      }
      insertJoinCell(panel, cluster, model);
      shell.activateById(panel.id);
    }
  });
  commands.addCommand(CommandIDs.copyCode, {
    label: t('Copy Code That Joins the Shown Cluster'),
    icon: copyIcon,
    isEnabled: args => target(args) !== null,
    execute: args => {
      const cluster = target(args);
      if (cluster) {
        Clipboard.copyToSystem(joinCode(reference(cluster, model.clusters)));
        Notification.success(t('Copied the code that joins %1.', cluster.name), { autoClose: 2500 });
      }
    }
  });

  let known = '';
  model.changed.connect(() => {
    // The model changes every second, what commands depend on does not.
    const now = `${model.selected?.cluster_id} ${model.clusters.length}`;
    if (now !== known) {
      known = now;
      commands.notifyCommandChanged();
    }
  });
  notebooks?.currentChanged.connect(() => commands.notifyCommandChanged(CommandIDs.insertCell));
  for (const command of Object.values(CommandIDs)) {
    if (command !== CommandIDs.openPane) {
      palette?.addItem({ command, category: 'rayjup' });
    }
  }
  for (const pane of PANES) {
    palette?.addItem({ command: CommandIDs.openPane, args: { pane: pane.name }, category: 'rayjup' });
  }
}

async function confirmStop(clusters: IClusterSummary[], label = t('Stop')): Promise<boolean> {
  const names = clusters.map(c => c.name).join(', ');
  const result = await showDialog({
    title:
      clusters.length === 1
        ? t('%1 cluster “%2”?', label, names)
        : tn('Stop %1 cluster?', 'Stop %1 clusters?', clusters.length),
    body:
      (clusters.length === 1 ? '' : `${names}. `) +
      t('Running tasks are cancelled; actors and stored objects are lost.'),
    buttons: [Dialog.cancelButton(), Dialog.warnButton({ label })]
  });
  return result.button.accept;
}

async function reporting(what: string, call: () => Promise<unknown>): Promise<void> {
  try {
    await call();
  } catch (error) {
    Notification.error(`${what}: ${error instanceof Error ? error.message : error}`, { autoClose: false });
  }
}
