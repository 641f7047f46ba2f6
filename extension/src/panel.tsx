/** The side panel: which state is shown. */

import { CommandRegistry } from '@lumino/commands';
import * as React from 'react';

import { PANEL_ID } from './commandids';
import { ClusterList } from './components/clusterlist';
import { ClusterDetails } from './components/details';
import { Header } from './components/header';
import { Banner, Empty, Loading } from './components/messages';
import { StartForm } from './components/startform';
import { rayjupIcon } from './icons';
import { PanelModel } from './model';
import { t } from './text';
import { View } from './view';

export class RayjupPanel extends View {
  constructor(
    model: PanelModel,
    private _commands: CommandRegistry
  ) {
    super(model, 'rj-Panel');
    this.id = PANEL_ID;
    this.title.icon = rayjupIcon;
    this.title.caption = t('rayjup clusters');
    this.name(t('rayjup clusters'));
  }

  protected draw(): JSX.Element {
    return <Content model={this.model} commands={this._commands} />;
  }
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
