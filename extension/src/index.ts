/** The JupyterLab plugin: builds the model, the panel, panes and commands, and what else leads to them. */

import { ILabShell, ILayoutRestorer, JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, WidgetTracker } from '@jupyterlab/apputils';
import { ILauncher } from '@jupyterlab/launcher';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { IStateDB } from '@jupyterlab/statedb';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator } from '@jupyterlab/translation';

import { ClustersApi } from './api';
import { AttachButton } from './attach';
import { CommandIDs, PANEL_ID } from './commandids';
import { addCommands } from './commands';
import { PanelModel } from './model';
import { PaneWidget } from './pane';
import { RayjupPanel } from './panel';
import { paneOf } from './panes';
import { StatusItem } from './status';
import { speak, t } from './text';

const ID = '@rayjup/lab:plugin';

const plugin: JupyterFrontEndPlugin<void> = {
  id: ID,
  description: 'A side panel that starts, watches and stops rayjup clusters.',
  autoStart: true,
  optional: [
    ILabShell,
    ILayoutRestorer,
    ICommandPalette,
    INotebookTracker,
    ILauncher,
    IStatusBar,
    ISettingRegistry,
    IStateDB,
    ITranslator
  ],
  activate: (
    app: JupyterFrontEnd,
    labShell: ILabShell | null,
    restorer: ILayoutRestorer | null,
    palette: ICommandPalette | null,
    notebooks: INotebookTracker | null,
    launcher: ILauncher | null,
    statusBar: IStatusBar | null,
    settings: ISettingRegistry | null,
    stateDB: IStateDB | null,
    translator: ITranslator | null
  ): void => {
    if (translator) {
      speak(translator.load('rayjup'));
    }
    const model = new PanelModel(new ClustersApi(app.serviceManager.serverSettings));
    const tracker = new WidgetTracker<PaneWidget>({ namespace: 'rayjup-pane' });
    const openPane = (name: string): void => {
      const open = tracker.find(widget => widget.pane.name === name);
      const pane = paneOf(name)!;
      const widget = open ?? new PaneWidget(model, pane);
      if (!open) {
        void tracker.add(widget);
        app.shell.add(widget, 'main');
      }
      app.shell.activateById(widget.id);
    };
    addCommands(app, model, notebooks, palette, openPane);

    const panel = new RayjupPanel(model, app.commands);
    panel.disposed.connect(() => model.dispose());

    app.shell.add(panel, 'left', { rank: 650 });
    if (labShell && restorer) {
      restorer.add(panel, PANEL_ID);
      void restorer.restore(tracker, {
        command: CommandIDs.openPane,
        args: widget => ({ pane: widget.pane.name }),
        name: widget => widget.pane.name
      });
    }
    launcher?.add({ command: CommandIDs.open, category: t('Other'), rank: 50 });
    app.docRegistry.addWidgetExtension('Notebook', new AttachButton(model, app.commands));

    document.addEventListener('visibilitychange', () => model.setVisible(!document.hidden));
    model.setVisible(!document.hidden);
    model.open();

    if (stateDB) {
      void keepState(model, stateDB);
    }
    const status = new StatusItem(model, app.commands);
    statusBar?.registerStatusItem(`${ID}:status`, { item: status, align: 'left', rank: 20 });
    if (settings) {
      void settings.load(ID).then(loaded => {
        const apply = (): void => status.setHidden(loaded.get('statusBar').composite === false);
        loaded.changed.connect(apply);
        apply();
      });
    }
  }
};

/** What was shown and folded comes back when the page is loaded again. */
async function keepState(model: PanelModel, stateDB: IStateDB): Promise<void> {
  const key = `${ID}:state`;
  const saved = await stateDB.fetch(key);
  if (saved && typeof saved === 'object') {
    model.restore(saved as object);
  }
  let last = JSON.stringify(model.state);
  model.changed.connect(() => {
    const state = JSON.stringify(model.state);
    if (state !== last && model.selected) {
      last = state;
      void stateDB.save(key, JSON.parse(state));
    }
  });
}

export default plugin;
