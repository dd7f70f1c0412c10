//! QR codes in the terminal.

use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use serde_json::json;

use crate::context::Context;
use crate::failure::Failure;
use crate::links;
use crate::output;
use crate::terminal::clean;

/// Prints the QR code of a link's short URL, or of any URL.
pub(crate) async fn show(context: &Context, link: &str) -> Result<(), Failure> {
    let url = if link.starts_with("http://") || link.starts_with("https://") {
        link.to_owned()
    } else {
        let client = context.session().await?;
        links::find(&client, link).await?.short_url
    };
    let code = QrCode::new(&url)
        .map_err(|error| Failure::Usage(format!("the URL does not fit into a QR code: {error}")))?;
    // Most terminals are dark, so blocks are the light modules.
    let picture = code
        .render::<Dense1x2>()
        .dark_color(Dense1x2::Light)
        .light_color(Dense1x2::Dark)
        .build();
    if context.json {
        return output::json(&json!({ "url": url, "qr": picture }));
    }
    output::line(&picture)?;
    output::line(&clean(&url))
}
