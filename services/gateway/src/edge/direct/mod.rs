//! The path of the common request.
mod alarm;
mod body;
mod buffer;
mod chunks;
mod connect;
mod exchange;
mod heads;
mod pool;
mod request;
mod response_head;
