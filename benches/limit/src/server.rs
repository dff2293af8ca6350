//! The server: parse, look up or run, answer.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use fred::prelude::{Builder, Client, ClientLike, Config, Expiration, KeysInterface};
use quick_cache::sync::Cache;
use tokio::net::TcpListener;
use warp::Filter;
use warp::http::{Response, StatusCode};
use warp::reply::Response as Reply;

use crate::Mode;
use crate::model::Model;
use crate::request::{Request, Rows};

const REMEMBERED_SECONDS: i64 = 86_400;
const L1_ENTRIES: usize = 100_000;

struct App {
    model: Model,
    known: Known,
}

/// Where answers are remembered.
enum Known {
    Nowhere,
    InProcess(Cache<[u8; 32], Bytes>),
    InRedis(Client),
}

pub(crate) async fn serve(
    mode: Mode,
    port: u16,
    redis: Option<&str>,
    model: Model,
) -> anyhow::Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener = TcpListener::bind(address).await?;
    let known = match mode {
        Mode::Run => Known::Nowhere,
        Mode::L1 => Known::InProcess(Cache::new(L1_ENTRIES)),
        Mode::Redis => Known::InRedis(connect(redis.context("--redis is missing")?).await?),
    };
    let app = Arc::new(App { model, known });
    let alive = warp::get().and(warp::path::end()).map(warp::reply);
    let score = warp::post()
        .and(warp::path!("api" / "score"))
        .and(warp::body::bytes())
        .then(move |body| {
            let app = app.clone();
            async move { reply(app.answer(body).await) }
        });
    warp::serve(score.or(alive)).incoming(listener).run().await;
    Ok(())
}

async fn connect(redis: &str) -> anyhow::Result<Client> {
    let config = Config::from_url(&format!("redis://{redis}"))?;
    let mut builder = Builder::from_config(config);
    builder.with_connection_config(|connection| connection.tcp.nodelay = Some(true));
    let client = builder.build()?;
    client.init().await?;
    Ok(client)
}

impl App {
    /// The answer, and what became of the look-up.
    async fn answer(&self, body: Bytes) -> anyhow::Result<(Bytes, &'static str)> {
        let rows = serde_json::from_slice::<Request>(&body)?.data;
        match &self.known {
            Known::Nowhere => Ok((self.compute(&rows)?, "BYPASS")),
            Known::InProcess(cache) => {
                let key = *self.digest(&rows).as_bytes();
                if let Some(answer) = cache.get(&key) {
                    return Ok((answer, "HIT"));
                }
                let answer = self.compute(&rows)?;
                cache.insert(key, answer.clone());
                Ok((answer, "MISS"))
            }
            Known::InRedis(redis) => {
                let key = self.digest(&rows).to_hex();
                let known: Option<Bytes> = redis.get(key.as_str()).await?;
                if let Some(answer) = known {
                    return Ok((answer, "HIT"));
                }
                let answer = self.compute(&rows)?;
                let (redis, value) = (redis.clone(), answer.clone());
                tokio::spawn(async move {
                    let expire = Some(Expiration::EX(REMEMBERED_SECONDS));
                    // A later miss of the same row makes up for a failure.
                    let _: Result<(), _> =
                        redis.set(key.as_str(), value, expire, None, false).await;
                });
                Ok((answer, "MISS"))
            }
        }
    }

    fn digest(&self, rows: &Rows) -> blake3::Hash {
        blake3::keyed_hash(&self.model.digest, bytemuck::cast_slice(&rows.values))
    }

    fn compute(&self, rows: &Rows) -> anyhow::Result<Bytes> {
        let labels = self.model.run(rows)?;
        Ok(serde_json::to_vec(&labels)?.into())
    }
}

fn reply(outcome: anyhow::Result<(Bytes, &'static str)>) -> Reply {
    let (status, cache, body) = match outcome {
        Ok((body, cache)) => (StatusCode::OK, cache, body),
        Err(error) => (StatusCode::BAD_REQUEST, "NONE", format!("{error:#}").into()),
    };
    let mut reply = Response::new(body.into());
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    let value = warp::http::HeaderValue::from_static;
    headers.insert("content-type", value("application/json"));
    headers.insert("x-cache", value(cache));
    reply
}
