import * as React from 'react';

import { PanelModel } from '../model';
import type { IStartOptions } from '../types';

/** Name, CPUs and GPUs of a cluster to start; what is left empty is left to the server. */
export function StartForm(props: { model: PanelModel }): JSX.Element {
  const { model } = props;
  const [name, setName] = React.useState('');
  const [cpus, setCpus] = React.useState('');
  const [gpus, setGpus] = React.useState('');
  const error = model.startError;
  const submit = (event: React.FormEvent): void => {
    event.preventDefault();
    const options: IStartOptions = {};
    if (name.trim()) {
      options.name = name.trim();
    }
    if (cpus) {
      options.num_cpus = Number(cpus);
    }
    if (gpus) {
      options.num_gpus = Number(gpus);
    }
    void model.start(options);
  };
  const hint = (field: string): JSX.Element | null =>
    error?.field === field ? (
      <span className="rj-Form-error" role="alert">
        {error.message}
      </span>
    ) : null;
  return (
    <form className="rj-Form" onSubmit={submit} data-rayjup="form">
      <label className="rj-Form-field">
        <span>Name</span>
        <input
          autoFocus
          name="name"
          value={name}
          placeholder="chosen for you"
          maxLength={64}
          spellCheck={false}
          autoComplete="off"
          aria-invalid={error?.field === 'name'}
          onChange={event => setName(event.target.value)}
        />
        {hint('name')}
      </label>
      <div className="rj-Form-row">
        <label className="rj-Form-field">
          <span>CPUs</span>
          <input
            type="number"
            name="num_cpus"
            min={0}
            step="any"
            value={cpus}
            placeholder="all"
            onChange={event => setCpus(event.target.value)}
          />
          {hint('num_cpus')}
        </label>
        <label className="rj-Form-field">
          <span>GPUs</span>
          <input
            type="number"
            name="num_gpus"
            min={0}
            step="any"
            value={gpus}
            placeholder="all"
            onChange={event => setGpus(event.target.value)}
          />
          {hint('num_gpus')}
        </label>
      </div>
      <div className="rj-Form-buttons">
        <button type="button" className="rj-Button" onClick={() => model.toggleOptions()}>
          Cancel
        </button>
        <button
          type="submit"
          className="rj-Button rj-mod-primary"
          data-rayjup="start-with-options"
          disabled={model.busy}
        >
          {model.busy ? 'Starting…' : 'Start cluster'}
        </button>
      </div>
    </form>
  );
}
