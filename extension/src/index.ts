/** The JupyterLab plugin: builds the model, the panel and the commands. */

import { ILabShell, ILayoutRestorer, JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { INotebookTracker } from '@jupyterlab/notebook';

import { ClustersApi } from './api';
import { addCommands, PANEL_ID } from './commands';
import { rayjupIcon } from './icons';
import { PanelModel } from './model';
import { RayjupPanel } from './panel';

const plugin: JupyterFrontEndPlugin<void> = {
  id: '@rayjup/lab:plugin',
  description: 'A side panel that starts, watches and stops rayjup clusters.',
  autoStart: true,
  optional: [ILabShell, ILayoutRestorer, ICommandPalette, INotebookTracker],
  activate: (
    app: JupyterFrontEnd,
    labShell: ILabShell | null,
    restorer: ILayoutRestorer | null,
    palette: ICommandPalette | null,
    notebooks: INotebookTracker | null
  ): void => {
    const model = new PanelModel(new ClustersApi(app.serviceManager.serverSettings));
    addCommands(app, model, notebooks, palette);

    const panel = new RayjupPanel(model, app.commands);
    panel.id = PANEL_ID;
    panel.title.icon = rayjupIcon;
    panel.title.caption = 'rayjup clusters';
    panel.node.setAttribute('role', 'region');
    panel.node.setAttribute('aria-label', 'rayjup clusters');
    panel.disposed.connect(() => model.dispose());

    app.shell.add(panel, 'left', { rank: 650 });
    if (labShell && restorer) {
      restorer.add(panel, PANEL_ID);
    }
  }
};

export default plugin;
