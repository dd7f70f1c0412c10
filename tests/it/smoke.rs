use crate::harness::Stack;

#[tokio::test(flavor = "multi_thread")]
async fn starts() {
    let stack = Stack::small().await;
    stack.client().get("/health").await.expect(200);
}
