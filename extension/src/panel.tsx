/** The side panel: which state is shown. */

import { ReactWidget, UseSignal } from '@jupyterlab/ui-components';
import { CommandRegistry } from '@lumino/commands';
import { Message } from '@lumino/messaging';
import * as React from 'react';

import { ClusterList } from './components/clusterlist';
import { ClusterDetails } from './components/details';
import { Header } from './components/header';
import { Shown } from './components/hooks';
import { Banner, Empty, Loading } from './components/messages';
import { StartForm } from './components/startform';
import { PanelModel } from './model';

export class RayjupPanel extends ReactWidget {
  constructor(model: PanelModel, commands: CommandRegistry) {
    super();
    this._model = model;
    this._commands = commands;
    this.addClass('rj-Panel');
  }

  render(): JSX.Element {
    return (
      <UseSignal signal={this._model.changed}>
        {() => (
          <Shown.Provider value={this.isVisible}>
            <Content model={this._model} commands={this._commands} />
          </Shown.Provider>
        )}
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

  private _model: PanelModel;
  private _commands: CommandRegistry;
}

function Content(props: { model: PanelModel; commands: CommandRegistry }): JSX.Element {
  const { model, commands } = props;
  const { selected } = model;
  const empty = model.loaded && model.clusters.length === 0 && model.starting.length === 0 && !model.busy;
  const stale = model.status.state === 'reconnecting';
  return (
    <>
      <Header model={model} commands={commands} />
      <Banner model={model} />
      {model.optionsOpen && <StartForm model={model} />}
      <div className={`rj-Body${stale ? ' rj-mod-stale' : ''}`}>
        {!model.loaded && !model.problem && <Loading />}
        {empty && !model.optionsOpen && <Empty model={model} />}
        {!empty && model.loaded && <ClusterList model={model} commands={commands} />}
        {selected && <ClusterDetails cluster={selected} model={model} commands={commands} />}
      </div>
    </>
  );
}
