package com.cometmq.interop;

import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.producer.TransactionSendResult;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Transactions and request-reply as a Java application uses them; see Scenarios. */
final class Transactions {
    private Transactions() {
    }

    /** What a listener answers, by message body. */
    private static final class Decisions implements TransactionListener {
        final Map<String, AtomicInteger> checks = new ConcurrentHashMap<>();
        final Map<String, String> ids = new ConcurrentHashMap<>();

        @Override
        public LocalTransactionState executeLocalTransaction(Message m, Object arg) {
            ids.put(new String(m.getBody()), m.getTransactionId());
            return (LocalTransactionState) arg;
        }

        /** Asked about "later", answers only the second time; takes everything else back. */
        @Override
        public LocalTransactionState checkLocalTransaction(MessageExt m) {
            String body = new String(m.getBody());
            int n = checks.computeIfAbsent(body, k -> new AtomicInteger()).incrementAndGet();
            Scenarios.check(ids.get(body) == null || ids.get(body).equals(m.getTransactionId()), "transaction id " + m.getTransactionId());
            if (!body.equals("later")) {
                return LocalTransactionState.ROLLBACK_MESSAGE;
            }
            return n < 2 ? LocalTransactionState.UNKNOW : LocalTransactionState.COMMIT_MESSAGE;
        }
    }

    private static TransactionMQProducer producer(String namesrv, String group, Decisions d) throws Exception {
        TransactionMQProducer p = new TransactionMQProducer(group);
        p.setNamesrvAddr(namesrv);
        p.setSendMsgTimeout(10000);
        p.setInstanceName(group);
        p.setTransactionListener(d);
        p.start();
        return p;
    }

    private static void send(TransactionMQProducer p, String topic, String body, LocalTransactionState state) throws Exception {
        TransactionSendResult r = p.sendMessageInTransaction(new Message(topic, Lines.utf8(body)), state);
        Scenarios.check(r.getSendStatus() == SendStatus.SEND_OK, body + ": " + r);
        Scenarios.check(r.getLocalTransactionState() == state, body + ": " + r);
    }

    /** Commit is seen once, roll back never. */
    static void commitAndRollback(String namesrv, String topic) throws Exception {
        TransactionMQProducer p = producer(namesrv, "tg_" + topic, new Decisions());
        DefaultMQProducer plain = Scenarios.producer(namesrv, "g_" + topic);
        plain.send(new Message(topic, Lines.utf8("create")));
        Map<String, MessageExt> got = new ConcurrentHashMap<>();
        AtomicInteger copies = new AtomicInteger();
        CountDownLatch done = new CountDownLatch(2);
        DefaultMQPushConsumer c = listen(namesrv, topic, m -> {
            String body = new String(m.getBody());
            if (body.equals("commit")) {
                copies.incrementAndGet();
            }
            if (got.put(body, m) == null && !body.equals("create")) {
                done.countDown();
            }
        });
        send(p, topic, "rollback", LocalTransactionState.ROLLBACK_MESSAGE);
        send(p, topic, "commit", LocalTransactionState.COMMIT_MESSAGE);
        send(p, topic, "last", LocalTransactionState.COMMIT_MESSAGE);
        Scenarios.await(done, 60, "committed messages");
        Scenarios.check(copies.get() == 1, "commit came " + copies.get() + " times");
        Scenarios.check(!got.containsKey("rollback"), "a message that was rolled back came");
        MessageExt m = got.get("commit");
        Scenarios.check(m.getMsgId().equals(m.getTransactionId()), "transaction id " + m.getTransactionId() + " of " + m);
        Scenarios.check(m.getPreparedTransactionOffset() > 0, "prepared offset of " + m);
        c.shutdown();
        plain.shutdown();
        p.shutdown();
    }

    /** The broker asks about what was left open; "later" is committed at the second check, "never" taken back. */
    static void checkBack(String namesrv, String topic) throws Exception {
        Decisions d = new Decisions();
        TransactionMQProducer p = producer(namesrv, "tg_" + topic, d);
        DefaultMQProducer plain = Scenarios.producer(namesrv, "g_" + topic);
        plain.send(new Message(topic, Lines.utf8("create")));
        Set<String> got = ConcurrentHashMap.newKeySet();
        CountDownLatch done = new CountDownLatch(1);
        DefaultMQPushConsumer c = listen(namesrv, topic, m -> {
            got.add(new String(m.getBody()));
            if (new String(m.getBody()).equals("later")) {
                done.countDown();
            }
        });
        send(p, topic, "never", LocalTransactionState.UNKNOW);
        send(p, topic, "later", LocalTransactionState.UNKNOW);
        Scenarios.await(done, 150, "the message that is committed at its second check");
        Scenarios.check(d.checks.get("later").get() == 2 && d.checks.get("never").get() == 1, "checks " + d.checks);
        Scenarios.check(!got.contains("never"), "a message that was taken back came");
        c.shutdown();
        plain.shutdown();
        p.shutdown();
    }

    /** Request and reply. request(msg, timeout) of 4.9.4 hands back the request itself, so a selector is given. */
    static void requestReply(String namesrv, String topic) throws Exception {
        DefaultMQProducer requester = Scenarios.producer(namesrv, "q_" + topic);
        DefaultMQProducer replier = Scenarios.producer(namesrv, "r_" + topic);
        requester.send(new Message(topic, Lines.utf8("create")));
        AtomicReference<Throwable> failure = new AtomicReference<>();
        DefaultMQPushConsumer c = listen(namesrv, topic, m -> {
            if (m.getProperty("CORRELATION_ID") == null) {
                return;
            }
            try {
                Message reply = MessageUtil.createReplyMessage(m, Lines.utf8("re: " + new String(m.getBody())));
                replier.send(reply, 10000);
            } catch (Throwable t) {
                failure.set(t);
            }
        });
        for (int i = 0; i < 20; i++) {
            Message answer = requester.request(new Message(topic, Lines.utf8("q" + i)), (mqs, m, arg) -> mqs.get(0), null, 20000);
            Scenarios.check(new String(answer.getBody()).equals("re: q" + i), "answer " + answer);
        }
        Scenarios.check(failure.get() == null, "replier: " + failure.get());
        c.shutdown();
        replier.shutdown();
        requester.shutdown();
    }

    private interface Each {
        void take(MessageExt m);
    }

    private static DefaultMQPushConsumer listen(String namesrv, String topic, Each each) throws Exception {
        DefaultMQPushConsumer c = Scenarios.consumer(namesrv, "c_" + topic, topic);
        c.subscribe(topic, "*");
        c.registerMessageListener((MessageListenerConcurrently) (msgs, ctx) -> {
            msgs.forEach(each::take);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        c.start();
        return c;
    }
}
