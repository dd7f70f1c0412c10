/** The text of an operation, with the types of its answer and its variables. */
export type GraphQlDocument<Answer, Variables> = string & {
  readonly [TYPES]?: (variables: Variables) => Answer;
};

declare const TYPES: unique symbol;
