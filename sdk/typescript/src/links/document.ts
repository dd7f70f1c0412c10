/** The text of an operation, with the types of its data and its variables. */
export type GraphQlDocument<Data, Variables> = string & {
  readonly [TYPES]?: (variables: Variables) => Data;
};

declare const TYPES: unique symbol;
