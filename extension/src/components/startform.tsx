import * as React from 'react';

import { bodyOf, fieldsOf, IField } from '../form';
import { PanelModel } from '../model';
import { t } from '../text';

/** The options of a cluster to start, as the server's schema names them; what is left empty is left to it. */
export function StartForm(props: { model: PanelModel }): JSX.Element {
  const { model } = props;
  const [values, setValues] = React.useState<{ [name: string]: string }>({});
  const [problem, setProblem] = React.useState<{ field: string; message: string } | null>(null);
  const options = model.options;
  if (!options) {
    return <p className="rj-Hint">{model.startError ? model.startError.message : t('Reading the options…')}</p>;
  }
  const fields = fieldsOf(options.schema, options.profiles, options.may_start_without_profile);
  const error = problem ?? model.startError;
  const submit = (event: React.FormEvent): void => {
    event.preventDefault();
    const body = bodyOf(fields, values);
    if ('problem' in body) {
      setProblem(body.problem);
      return;
    }
    setProblem(null);
    void model.start(body.body);
  };
  const main = fields.filter(field => field.main);
  const more = fields.filter(field => !field.main);
  const draw = (field: IField): JSX.Element => (
    <Field
      key={field.name}
      field={field}
      value={values[field.name] ?? ''}
      error={error?.field === field.name ? error.message : null}
      onChange={value => setValues({ ...values, [field.name]: value })}
    />
  );
  return (
    <form className="rj-Form" onSubmit={submit} data-rayjup="form" noValidate>
      {main.filter(field => field.kind !== 'number').map(draw)}
      <div className="rj-Form-row">{main.filter(field => field.kind === 'number').map(draw)}</div>
      <details className="rj-Form-more" open={more.some(field => field.name === error?.field) || undefined}>
        <summary>{t('More options')}</summary>
        {more.map(draw)}
      </details>
      <div className="rj-Form-buttons">
        <button type="button" className="rj-Button" onClick={() => model.toggleOptions()}>
          {t('Cancel')}
        </button>
        <button
          type="submit"
          className="rj-Button rj-mod-primary"
          data-rayjup="start-with-options"
          disabled={model.busy}
        >
          {model.busy ? t('Starting…') : t('Start cluster')}
        </button>
      </div>
    </form>
  );
}

function Field(props: {
  field: IField;
  value: string;
  error: string | null;
  onChange: (value: string) => void;
}): JSX.Element {
  const { field, value, error, onChange } = props;
  const id = React.useId();
  const common = {
    name: field.name,
    value,
    'aria-invalid': error !== null,
    'aria-describedby': error !== null ? id : undefined
  };
  return (
    <label className="rj-Form-field" title={field.description}>
      <span>{t(field.title)}</span>
      {field.choices ? (
        <select {...common} onChange={event => onChange(event.target.value)}>
          <option value="">{field.required ? t('choose a profile') : t('no profile')}</option>
          {field.choices.map(choice => (
            <option
              key={choice.value}
              value={choice.value}
              disabled={choice.problem !== null}
              title={choice.problem ?? undefined}
            >
              {choice.problem === null ? choice.label : t('%1 (cannot be used)', choice.value)}
            </option>
          ))}
        </select>
      ) : (
        <input
          {...common}
          type={field.kind === 'number' ? 'number' : 'text'}
          min={field.minimum}
          step="any"
          placeholder={t(field.hint)}
          spellCheck={false}
          autoComplete="off"
          autoFocus={field.name === 'name'}
          onChange={event => onChange(event.target.value)}
        />
      )}
      {error !== null && (
        <span id={id} className="rj-Form-error" role="alert">
          {error}
        </span>
      )}
    </label>
  );
}
