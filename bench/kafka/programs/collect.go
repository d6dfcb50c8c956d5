package programs

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/go-chi/chi/v5"
)

// saramaCollect is an HTTP server on chi that answers when the record is
// acknowledged. The AsyncProducer joins the records of requests that run at the same
// time, which the SyncProducer does as well: it is the same with a channel per message.
func saramaCollect(ctx context.Context, w Work) error {
	producer, err := sarama.NewAsyncProducer(w.Brokers, saramaConfig())
	if err != nil {
		return err
	}
	var acks sync.WaitGroup
	acks.Go(func() {
		for m := range producer.Successes() {
			m.Metadata.(chan error) <- nil
		}
	})
	acks.Go(func() {
		for e := range producer.Errors() {
			e.Msg.Metadata.(chan error) <- e.Err
		}
	})
	r := chi.NewRouter()
	r.Post("/orders", func(rw http.ResponseWriter, r *http.Request) {
		var o Order
		if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
			http.Error(rw, err.Error(), http.StatusBadRequest)
			return
		}
		value, err := json.Marshal(Handle(o))
		if err != nil {
			http.Error(rw, "internal error", http.StatusInternalServerError)
			return
		}
		done := make(chan error, 1)
		producer.Input() <- &sarama.ProducerMessage{Topic: w.Out, Key: sarama.StringEncoder(Key(o)), Value: sarama.ByteEncoder(value), Metadata: done}
		if err := <-done; err != nil {
			http.Error(rw, "internal error", http.StatusInternalServerError)
			return
		}
		rw.Header().Set("Content-Type", "application/json")
		_, _ = rw.Write([]byte(`{"success":true}`))
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: r, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 60 * time.Second}
	var serving sync.WaitGroup
	serving.Go(func() { err = server.Serve(listener) })
	w.Ready(listener.Addr().String())
	<-ctx.Done()
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	stopped := server.Shutdown(stopping)
	serving.Wait()
	producer.AsyncClose()
	acks.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return errors.Join(err, stopped)
}
