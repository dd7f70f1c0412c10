// Signs up, logs in and reads the account with the generated client, then provokes a problem and
// reads it. Prints the email of the account.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	quartet "example.org/quartet/client"
)

func main() {
	if err := run(os.Getenv("QUARTET_URL"), os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func run(url, email, password string) error {
	config := quartet.NewConfiguration()
	config.Servers = quartet.ServerConfigurations{{URL: url}}
	client := quartet.NewAPIClient(config)
	ctx := context.Background()

	signUp := *quartet.NewSignUp(email, password)
	if _, _, err := client.UsersAPI.CreateUser(ctx).SignUp(signUp).Execute(); err != nil {
		return err
	}
	credentials := *quartet.NewCredentials(email, password)
	tokens, _, err := client.SessionsAPI.CreateSession(ctx).Credentials(credentials).Execute()
	if err != nil {
		return err
	}
	ctx = context.WithValue(ctx, quartet.ContextAccessToken, tokens.AccessToken)
	me, _, err := client.UsersAPI.GetMe(ctx).Execute()
	if err != nil {
		return err
	}

	_, _, err = client.UsersAPI.CreateUser(ctx).SignUp(signUp).Execute()
	var failure *quartet.GenericOpenAPIError
	if !errors.As(err, &failure) {
		return fmt.Errorf("a second sign-up with the same email: %w", err)
	}
	problem, ok := failure.Model().(quartet.Problem)
	if !ok || problem.Code != "email_taken" {
		return fmt.Errorf("unexpected problem: %s", failure.Body())
	}
	fmt.Println(me.Email)
	return nil
}
