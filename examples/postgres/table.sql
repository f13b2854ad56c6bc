-- For the sink `latest`; that of `events` is made by the pipeline (tablePolicy: CreateIfMissing).
CREATE TABLE orders (
    order_id uuid PRIMARY KEY,
    at timestamptz NOT NULL,
    state text NOT NULL CHECK (state IN ('open', 'paid', 'sent')),
    total numeric(12, 2),
    tags text[],
    details jsonb
);
