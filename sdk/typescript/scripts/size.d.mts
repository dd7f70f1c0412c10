export function sizes(): Promise<{ name: string; minified: number; gzipped: number }[]>;
